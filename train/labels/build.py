"""`synergy label`: a data set of photos with landmarks becomes a training pack."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import synergy
from bfm_assets import MorphableModel, open_face, read_model
from synergy.crop import invert_affine, landmark_box, square_crop, transform_points, warp
from synergy.data.reader import SampleError
from synergy.data.sample import OCCLUDED, SELF_OCCLUDED, VISIBLE
from synergy.errors import UserError
from synergy.geometry import matrix_to_euler
from synergy.landmarks import FLIP68
from train.labels.calibration import Calibration
from train.labels.dedup import Bits, duplicates_of, image_hash, mirrored_hash, repeats
from train.labels.evidence import evidence_matrix
from train.labels.fit import Basis, Faces
from train.labels.label import Labels, label
from train.labels.like300wlp import write_300w_lp
from train.labels.mirror import mirror_row
from train.labels.order import order_warnings
from train.labels.pack import CROP_SIZE, Pack, PackWriter, encode_jpeg
from train.labels.profile import Profiler, outward_yaws, turn_to
from train.labels.source import Source, open_reader, read_source, read_teacher, transformed
from train.labels.surface import SurfaceFitter

Row = dict[str, Any]

_PART = 256
# A profiled view's source crop: this many times the training crop's side and at most this many times its resolution.
_SOURCE_MARGIN, _SOURCE_ZOOM = 1.6, 2.0
# Faces that are turned already, or whose label is doubtful, are not profiled.
_PROFILE_YAW_DEG, _PROFILE_WEIGHT, _PROFILE_STEP_DEG = 45.0, 0.5, 15.0
_VIEW_WEIGHT = 0.7


@dataclass(frozen=True)
class Options:
    """What is asked of a build; see `build_pack`."""

    split: str = "train"
    profile: bool = False
    profile_step_deg: float = _PROFILE_STEP_DEG
    mirror: bool = False
    own_frame: bool | None = None


def build_pack(
    dataset: str | Path,
    out: str | Path,
    model: str | Path | None = None,
    teacher: str | Path | None = None,
    calibration: str | Path | None = None,
    profile: bool = False,
    mirror: bool = False,
    like: str | None = None,
    held_out: Sequence[str | Path] = (),
    split: str = "train",
    source_name: str | None = None,
    limit: int | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
    warn: Callable[[str], None] = lambda line: None,
) -> Pack | Path:
    """Label a data set and write it as a pack.

    Args:
        dataset: folder or archive that a reader knows.
        out: directory to write.
        model: morphable model file to fit; default the bundled open face.
        teacher: predictions of a network with that model's parameters (`train.labels.source.read_teacher`).
        calibration: `calibration.npz` of another pack; default: learnt from this data set when there is a teacher.
        profile: add views at larger yaw of faces that look ahead.
        mirror: add mirrored copies.
        like: "300w-lp" to write that layout (.jpg and .mat) instead of a pack; it needs a form of BFM as `model`.
        held_out: data sets none of whose images, mirrored or not, may be in the pack.
        split: "train" or "val".
        source_name: what to call the data set in the pack; default its file name.
        limit: only the first so many faces.
        progress: called with faces done and in all.
        warn: called with each line that the user should read.
    """
    if like not in (None, "300w-lp"):
        raise UserError(f"--like knows 300w-lp, not '{like}'")
    face_model = open_face() if model is None else read_model(model)
    basis = Basis.of(face_model, evidence_matrix())
    source = _limited(read_source(open_reader(dataset, face_model)), limit)
    for line in order_warnings(source.hand[:, :68, :2], face_model):
        warn(line)
    labels, used = _label(basis, source, teacher, calibration, face_model, warn)
    if like:
        return write_300w_lp(Path(out), source, labels, basis, face_model)
    name = source_name or Path(dataset).name.partition(".")[0]
    identity = {
        "dataset": source.reader.digest(), "model": face_model.digest, "teacher": teacher, "calibration": calibration,
        "split": split, "profile": profile, "mirror": mirror, "limit": limit, "version": synergy.__version__,
    }  # fmt: skip
    writer = PackWriter(out, identity)
    maker = _RowMaker(face_model, basis, source, labels, name, split, profile, mirror)
    hashes = []
    for part, start in enumerate(range(0, len(source), _PART)):
        hashes_file = writer.path / "parts" / f"hash-{part:06d}.npy"
        if not writer.has(part):
            images, rows, part_hashes = maker.part(range(start, min(start + _PART, len(source))))
            np.save(hashes_file, part_hashes)
            if images:
                writer.write(part, images, rows)
        hashes.append(np.load(hashes_file))
        progress(min(start + _PART, len(source)), len(source))
    drop, dropped = _drop(np.concatenate(hashes), [_held_out_hashes(path) for path in held_out])
    manifest = {
        "sources": {name: {"path": str(dataset), "licence": source.reader.licence, "digest": source.reader.digest()}},
        "model": face_model.name,
        "model_digest": face_model.digest,
        "n_shape": face_model.n_shape,
        "n_expression": face_model.n_expression,
        "made_by": f"synergy {synergy.__version__}",
        "problems": [f"{p.name}: {p.reason}" for p in source.reader.problems],
        "dropped": dropped,
        "statistics": _statistics(labels),
    }
    pack = writer.finish(manifest, drop)
    used.save(pack.path / "calibration.npz")
    return pack


def _limited(source: Source, limit: int | None) -> Source:
    if limit is None:
        return source
    return replace(
        source,
        index=source.index[:limit],
        names=source.names[:limit],
        hand=source.hand[:limit],
        visibility=source.visibility[:limit],
    )


def _label(
    basis: Basis,
    source: Source,
    teacher: str | Path | None,
    calibration: str | Path | None,
    model: MorphableModel,
    warn: Callable[[str], None],
) -> tuple[Labels, Calibration]:
    hand = torch.from_numpy(source.hand * [1, -1, 1])
    predicted = None if teacher is None else read_teacher(teacher, source, basis)
    if calibration is not None:
        used = Calibration.load(Path(calibration))
    elif predicted is not None:
        has = predicted.log_scale.isfinite()
        used = Calibration.learn(basis, predicted[has], hand[has])
    else:
        used = Calibration.guess(basis)
    labels = label(basis, hand, predicted, used)
    failed = int((labels.weight < 0.05).sum())
    if failed:
        warn(f"{failed} of {len(source)} faces could not be labelled well; they stay in the pack with weight below 0.05")
    return labels, used


def _statistics(labels: Labels) -> dict[str, float]:
    residual = labels.residual[labels.residual.isfinite()]
    quantiles = torch.quantile(residual, torch.tensor([0.5, 0.95], dtype=torch.float64)) if len(residual) else [0.0, 0.0]
    return {
        "residual_median_percent": round(float(quantiles[0]), 3),
        "residual_95_percent": round(float(quantiles[1]), 3),
        "converged": round(float(labels.converged.double().mean()), 4),
        "mean_weight": round(float(labels.weight.mean()), 4),
    }


class _RowMaker:
    """Crops, and the rows of the pack that belong to them."""

    def __init__(
        self, model: MorphableModel, basis: Basis, source: Source, labels: Labels, name: str, split: str, profile: bool,
        mirror: bool,
    ) -> None:  # fmt: skip
        self.source, self.labels, self.name, self.split, self.mirror = source, labels, name, split, mirror
        self.basis, self.landmark_basis = basis, Basis.of(model)
        self.fitter = SurfaceFitter(model if model.is_dense else open_face()) if profile else None

    def part(self, indices: range) -> tuple[list[bytes], dict[str, NDArray[Any]], Bits]:
        """JPEG bytes, rows and (rows, 2, 256) hashes of the faces at `indices`; faces whose image is broken are left out."""
        rows: list[Row] = []
        for i in indices:
            try:
                rows += self._face(i)
            except (SampleError, ValueError) as error:
                self.source.reader.skip(self.source.names[i], str(error))
        images = [row.pop("image") for row in rows]
        hashes = np.stack([np.stack([image_hash(image), mirrored_hash(image)]) for image in images]) if images else np.empty((0, 2, 256), np.int8)
        merged = {key: np.stack([row[key] for row in rows]) for key in rows[0]} if rows else {}
        return [encode_jpeg(image) for image in images], merged, hashes

    def _face(self, i: int) -> list[Row]:
        image = self.source.reader.read(int(self.source.index[i])).image
        landmarks = self._landmarks(self.labels.faces[i : i + 1])
        crop = np.eye(2, 3) if image.shape[:2] == (CROP_SIZE, CROP_SIZE) else square_crop(landmark_box(landmarks), CROP_SIZE)
        if not np.isfinite(crop).all():
            raise SampleError("its label is not finite")
        row = self._row(i, crop)
        row["image"] = image if crop[0, 0] == 1 and not crop[:, 2].any() else warp(image, crop, CROP_SIZE)
        rows = [row]
        if self.fitter is not None and self._worth_turning(i, row):
            rows += self._views(i, image, landmarks, row)
        return [*rows, *(mirror_row(row) for row in rows)] if self.mirror else rows

    def _landmarks(self, faces: Faces) -> NDArray[np.float64]:
        """(68, 3) of one face, image pixels, y down, z of zero mean."""
        points = faces.points(self.landmark_basis)[0].numpy() * [1, -1, 1]
        points[:, 2] -= points[:, 2].mean()
        return points  # type: ignore[no-any-return]

    def _row(self, i: int, crop: NDArray[np.float64]) -> Row:
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

    def _views(self, i: int, image: NDArray[np.uint8], landmarks: NDArray[np.float64], row: Row) -> list[Row]:
        assert self.fitter is not None
        if image.shape[:2] != (CROP_SIZE, CROP_SIZE):
            scale = min(float(row["crop"][2]) * _SOURCE_ZOOM, 1.0)
            side = _SOURCE_MARGIN * CROP_SIZE / float(row["crop"][2]) * scale
            wide = square_crop(landmark_box(landmarks), round(side), 2**0.5 * _SOURCE_MARGIN)
            image, landmarks = warp(image, wide, round(side)), transform_points(wide, landmarks)
        else:
            wide = np.eye(2, 3)
        faces = transformed(self.labels.faces[i : i + 1], torch.from_numpy(wide)[None])
        pose = faces.pose(self.landmark_basis, float(len(image)))[0].numpy()
        surface = self.fitter.surfaces(landmarks[None])[0]
        profiler = Profiler(image, landmarks, pose, surface, self.fitter.model.triangles)
        rows = []
        for yaw in outward_yaws(float(row["pose_deg"][1]), _PROFILE_STEP_DEG):
            view = profiler.view(turn_to(pose, yaw), CROP_SIZE)
            depth = view.landmarks[:, 2].mean()
            turned = np.concatenate([view.pose, row["params"][12:]])
            turned[11] -= depth
            rows.append({
                **row,
                "image": view.image,
                "names": f"{row['names']}#yaw{yaw:+.0f}",
                "sources": f"{self.name}+profile",
                "landmarks68": view.landmarks - [0, 0, depth],
                "visibility68": np.where(view.visible, np.where(row["visibility68"] == OCCLUDED, OCCLUDED, VISIBLE), SELF_OCCLUDED),
                "params": turned,
                "pose_deg": np.array([row["pose_deg"][0], yaw, row["pose_deg"][2]]),
                "weight": row["weight"] * _VIEW_WEIGHT,
                "residual": np.nan,
                "hand68": np.full((68, 2), np.nan),
                "points21": np.full((21, 2), np.nan),
                "crop": np.full(3, np.nan),
            })  # fmt: skip
        return rows
