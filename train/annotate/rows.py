"""Make the rows of a pack from labelled photos: training crops, and profiled images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bfm_assets import MorphableModel, open_face
from synergy.crop import landmark_box, square_crop, transform_points, warp
from synergy.data.reader import SampleError
from synergy.data.sample import OCCLUDED, SELF_OCCLUDED, VISIBLE
from synergy.geometry import flip_y, matrix_to_euler
from train.annotate.faces import FaceParameters, PointModel
from train.annotate.fusion import Labels
from train.annotate.observations import Observations
from train.blendshape_scores import NAMES
from train.packs.pack import CROP_SIZE, Row
from train.profiling.profiler import FaceProfiler

Floats = NDArray[np.floating]

# Faces with a larger yaw or a smaller weight are not profiled.
_PROFILE_YAW_DEG, _PROFILE_WEIGHT = 45.0, 0.5
# Weight of a profiled image relative to its photo.
_PROFILED_WEIGHT = 0.7
# Columns that profiled images do not have. They are NaN.
_PHOTO_ONLY = ("annotated68", "annotated21", "teacher68", "crop", "residual")


@dataclass(frozen=True)
class Labelled:
    """A labelled data set.

    Attributes:
        observations: its N faces.
        labels: their labels.
        predicted: what the teachers predict, NaN scale where they predict nothing; or None.
        blendshapes: (N, 52) scores, NaN where unknown; or None.
    """

    observations: Observations
    labels: Labels
    predicted: FaceParameters | None = None
    blendshapes: Floats | None = None


class RowMaker:
    """Make the rows of a pack. An image that cannot be used is listed in `reader.problems` and left out.

    Args:
        model: the morphable model of the labels.
        labelled: the data set.
        source: name of the data set in the pack.
        split: (N,) "train" or "val".
        profile_step_deg: step of yaw between profiled images; None makes none.
    """

    def __init__(
        self,
        model: MorphableModel,
        labelled: Labelled,
        source: str,
        split: NDArray[np.object_],
        profile_step_deg: float | None,
    ) -> None:
        observations, labels = labelled.observations, labelled.labels
        self._reader, self._indices = observations.reader, observations.indices
        self._model = PointModel.create(model)
        self._faces = labels.faces.centre_depth(self._model)
        self._profiler = None
        if profile_step_deg is not None:
            self._profiler = FaceProfiler(model if model.is_dense else open_face(), profile_step_deg, CROP_SIZE)
        n = len(observations)
        self._landmarks = self._faces.landmarks(self._model)
        boxes = np.where(np.isfinite(observations.boxes), observations.boxes, landmark_box(self._landmarks))
        self._crop = square_crop(boxes, CROP_SIZE)
        annotated = transform_points(self._crop, flip_y(observations.points[..., :2]))
        left_top = -self._crop[:, :, 2] / self._crop[:, :1, 0]
        teacher68 = np.full((n, 68, 3), np.nan)
        if labelled.predicted is not None:
            predicted = labelled.predicted.centre_depth(self._model)
            teacher68 = transform_points(self._crop, predicted.landmarks(self._model))
        blendshapes = np.full((n, len(NAMES)), np.nan) if labelled.blendshapes is None else labelled.blendshapes
        self._columns: dict[str, Any] = {
            "names": observations.names,
            "sources": [source] * n,
            "split": split,
            "landmarks68": transform_points(self._crop, self._landmarks),
            "visibility68": observations.visibility,
            "params": self._vectors(self._faces.transform(self._crop)),
            "pose_deg": matrix_to_euler(self._faces.rotation).rad2deg().numpy(),
            "weight": labels.weight.numpy(),
            "residual": labels.residual.numpy(),
            "annotated68": annotated[:, :68],
            "annotated21": annotated[:, 68:],
            "teacher68": teacher68,
            "identity": observations.identity,
            "attributes": observations.attributes,
            "blendshapes": blendshapes,
            "crop": np.concatenate([left_top, self._crop[:, :1, 0]], 1),
        }

    def make(self, faces: range) -> list[Row]:
        """Return the rows of some faces: each photo, followed by its profiled images."""
        rows: list[Row] = []
        for i in faces:
            try:
                rows += self._photo_rows(i)
            except (SampleError, ValueError) as error:
                self._reader.skip(self._columns["names"][i], str(error))
        return rows

    def _photo_rows(self, i: int) -> list[Row]:
        photo = self._reader.read(int(self._indices[i])).image
        if not np.isfinite(self._crop[i]).all():
            raise SampleError("its label is not finite")
        row = {name: column[i] for name, column in self._columns.items()}
        row["image"] = warp(photo, self._crop[i], CROP_SIZE)
        near_frontal = abs(row["pose_deg"][1]) < _PROFILE_YAW_DEG and row["weight"] >= _PROFILE_WEIGHT
        return [row, *self._profiled_rows(i, photo, row)] if self._profiler and near_frontal else [row]

    def _profiled_rows(self, i: int, photo: NDArray[np.uint8], row: Row) -> list[Row]:
        assert self._profiler is not None
        faces = self._faces[i : i + 1]
        visibility = np.where(row["visibility68"] == OCCLUDED, OCCLUDED, VISIBLE)
        unknown = {name: np.full_like(row[name], np.nan) for name in _PHOTO_ONLY}
        rows = []
        for view in self._profiler.draw(photo, self._landmarks[i], faces.rotation[0].numpy()):
            rotated = faces.rotate(view.rotation, view.centre).transform(view.crop[None])
            pose_deg = matrix_to_euler(rotated.rotation)[0].rad2deg().numpy()
            rows.append({
                **row,
                **unknown,
                "image": view.image,
                "names": f"{row['names']}#yaw{pose_deg[1]:+.0f}",
                "sources": f"{row['sources']}+profile",
                "landmarks68": view.landmarks,
                "visibility68": np.where(view.visible, visibility, SELF_OCCLUDED),
                "params": self._vectors(rotated)[0],
                "pose_deg": pose_deg,
                "weight": row["weight"] * _PROFILED_WEIGHT,
            })  # fmt: skip
        return rows

    def _vectors(self, faces: FaceParameters) -> Floats:
        """Return the parameter vectors (N, 12 + K) of faces in the frame of the crop."""
        return faces.to_vectors(self._model, float(CROP_SIZE)).numpy()
