"""Rows of a pack: each photo's crop and label, and the views and mirror images made from it."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from bfm_assets import MorphableModel, open_face
from synergy.crop import landmark_box, square_crop, transform_points, warp
from synergy.data.reader import SampleError
from synergy.data.sample import OCCLUDED, SELF_OCCLUDED, VISIBLE
from synergy.geometry import centre_depth, flip_y, matrix_to_euler
from synergy.parameters import join_parameters, split_pose, translate
from train.labels.fit import Basis, Faces
from train.labels.label import Labels
from train.labels.mirror import mirror_rows
from train.labels.pack import CROP_SIZE, Row
from train.labels.profile import Profiler, outward_yaws, turn_to
from train.labels.source import Source, transformed
from train.labels.surface import SurfaceFitter

Floats = NDArray[np.floating]

# What a profiled view is drawn from: a crop this many times as wide as the training crop, at most at this many times
# its resolution.
_SOURCE_MARGIN, _SOURCE_ZOOM = 1.6, 2.0
# Faces that are turned further, or whose label is worth less, are not profiled.
_PROFILE_YAW_DEG, _PROFILE_WEIGHT = 45.0, 0.5
# Trust in a generated view, of that in its photo.
_VIEW_WEIGHT = 0.7

_AS_IT_IS: Floats = np.eye(2, 3)


class RowMaker:
    """Makes the rows of a data set's faces; an image that cannot be used is noted with the reader and left out.

    `step_deg` is the step of yaw between profiled views, None for no views.
    """

    def __init__(
        self, model: MorphableModel, source: Source, labels: Labels, name: str, split: str, step_deg: float | None,
        mirror: bool,
    ) -> None:  # fmt: skip
        self.source, self.labels, self.name, self.split, self.mirror = source, labels, name, split, mirror
        self.landmark_basis = Basis.of(model)
        self.step_deg = step_deg
        self.fitter = SurfaceFitter(model if model.is_dense else open_face()) if step_deg else None

    def rows(self, indices: range) -> list[Row]:
        """Rows of the faces at `indices`: the photo's, then its views, and then their mirror images."""
        rows: list[Row] = []
        for i in indices:
            try:
                rows += self._face(i)
            except (SampleError, ValueError) as error:
                self.source.reader.skip(self.source.names[i], str(error))
        return [*rows, *mirror_rows(rows, self.landmark_basis)] if self.mirror and rows else rows

    def _face(self, i: int) -> list[Row]:
        image = self.source.reader.read(int(self.source.index[i])).image
        landmarks = self._landmarks(self.labels.faces[i : i + 1])
        native = image.shape[:2] == (CROP_SIZE, CROP_SIZE)
        crop = _AS_IT_IS if native else square_crop(landmark_box(landmarks), CROP_SIZE)
        if not np.isfinite(crop).all():
            raise SampleError("its label is not finite")
        row = self._row(i, crop)
        row["image"] = image if native else warp(image, crop, CROP_SIZE)
        rows = [row]
        if self.fitter and self.step_deg and self._worth_turning(i, row):
            rows += self._views(i, image, landmarks, row, self.fitter, self.step_deg)
        return rows

    def _landmarks(self, faces: Faces) -> Floats:
        """(68, 3) of one face, image pixels, y down, z of zero mean."""
        return centre_depth(flip_y(faces.points(self.landmark_basis)[0])).numpy()

    def _row(self, i: int, crop: Floats) -> Row:
        faces = transformed(self.labels.faces[i : i + 1], torch.from_numpy(crop)[None])
        points = faces.points(self.landmark_basis)[0]
        faces.translation[:, 2] -= points[:, 2].mean()
        hand = transform_points(crop, self.source.hand[i, :, :2])
        return {
            "names": self.source.names[i],
            "sources": self.name,
            "split": self.split,
            "landmarks68": self._landmarks(faces),
            "visibility68": self.source.visibility[i],
            "params": faces.parameters(self.landmark_basis, float(CROP_SIZE))[0].numpy(),
            "pose_deg": matrix_to_euler(faces.rotation)[0].rad2deg().numpy(),
            "weight": float(self.labels.weight[i]),
            "residual": float(self.labels.residual[i]),
            "hand68": hand[:68],
            "points21": hand[68:],
            "crop": np.array([-crop[0, 2] / crop[0, 0], -crop[1, 2] / crop[0, 0], crop[0, 0]]),
        }

    def _worth_turning(self, i: int, row: Row) -> bool:
        return abs(row["pose_deg"][1]) < _PROFILE_YAW_DEG and float(self.labels.weight[i]) >= _PROFILE_WEIGHT

    def _views(
        self, i: int, image: NDArray[np.uint8], landmarks: Floats, row: Row, fitter: SurfaceFitter, step_deg: float
    ) -> list[Row]:
        if image.shape[:2] != (CROP_SIZE, CROP_SIZE):
            scale = min(float(row["crop"][2]) * _SOURCE_ZOOM, 1.0)
            side = _SOURCE_MARGIN * CROP_SIZE / float(row["crop"][2]) * scale
            wide = square_crop(landmark_box(landmarks), round(side), 2**0.5 * _SOURCE_MARGIN)
            image, landmarks = warp(image, wide, round(side)), transform_points(wide, landmarks)
        else:
            wide = _AS_IT_IS
        faces = transformed(self.labels.faces[i : i + 1], torch.from_numpy(wide)[None])
        pose = faces.pose(self.landmark_basis, float(len(image)))[0].numpy()
        surface = fitter.surfaces(landmarks[None])[0]
        profiler = Profiler(image, landmarks, pose, surface, fitter.model.triangles)
        covered = np.where(row["visibility68"] == OCCLUDED, OCCLUDED, VISIBLE)
        rows = []
        for yaw in outward_yaws(float(row["pose_deg"][1]), step_deg):
            view = profiler.view(turn_to(pose, yaw), CROP_SIZE)
            depth = view.landmarks[:, 2].mean()
            turned = join_parameters(view.pose, split_pose(row["params"])[1])
            turned = translate(turned, z=-depth)
            rows.append({
                **row,
                "image": view.image,
                "names": f"{row['names']}#yaw{yaw:+.0f}",
                "sources": f"{self.name}+profile",
                "landmarks68": view.landmarks - [0, 0, depth],
                "visibility68": np.where(view.visible, covered, SELF_OCCLUDED),
                "params": turned,
                "pose_deg": np.array([row["pose_deg"][0], yaw, row["pose_deg"][2]]),
                "weight": row["weight"] * _VIEW_WEIGHT,
                "residual": np.nan,
                "hand68": np.full((68, 2), np.nan),
                "points21": np.full((21, 2), np.nan),
                "crop": np.full(3, np.nan),
            })  # fmt: skip
        return rows
