"""Label a data set of photos with landmark annotations and write it as a training pack."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import synergy
from bfm_assets import MorphableModel, open_face, read_model
from synergy.crop import landmark_box, square_crop, transform_points, warp
from synergy.data.reader import SampleError
from synergy.data.sample import OCCLUDED, SELF_OCCLUDED, VISIBLE
from synergy.errors import UserError
from synergy.geometry import centre_depth, flip_y, matrix_to_euler
from train.annotate.calibration import Calibration
from train.annotate.faces import FaceParameters, PointModel
from train.annotate.fusion import Labels, label_faces
from train.annotate.observations import (
    Observations,
    observation_matrix,
    open_reader,
    point_order_warnings,
    read_observations,
)
from train.annotate.teachers import read_predictions
from train.packs.duplicates import Bits, find_copies, find_repeats, image_hash
from train.packs.pack import CROP_SIZE, PackWriter, Row
from train.profiling.profiler import FaceProfiler

Floats = NDArray[np.floating]

# Faces per part of the pack: an interrupted run repeats at most one part.
_PART = 256
# Faces with a larger yaw or a smaller weight are not profiled.
_PROFILE_YAW_DEG, _PROFILE_WEIGHT = 45.0, 0.5
# Weight of a profiled image relative to its photo.
_PROFILED_WEIGHT = 0.7
# Labels with a smaller weight are counted as failed.
_FAILED_WEIGHT = 0.05


@dataclass(frozen=True)
class LabelOptions:
    """Options of `build_pack`.

    Attributes:
        model: morphable model file to fit; the bundled open face by default.
        teacher: file of network predictions (`train.annotate.teachers`).
        calibration: `calibration.npz` of another pack. By default the calibration is estimated from this data set if
            there is a teacher.
        profile_step_deg: add profiled images of near-frontal faces, rotated outwards up to 90 degrees of yaw in steps
            of this many degrees; None adds none.
        held_out: data sets none of whose images, mirrored or not, may be in the pack.
        split: "train" or "val".
        source_name: name of the data set in the pack; its file name by default.
        limit: only the first so many faces.
    """

    model: str | Path | None = None
    teacher: str | Path | None = None
    calibration: str | Path | None = None
    profile_step_deg: float | None = None
    held_out: tuple[str | Path, ...] = ()
    split: str = "train"
    source_name: str | None = None
    limit: int | None = None

    def __post_init__(self) -> None:
        if self.profile_step_deg is not None and not 1 <= self.profile_step_deg <= 90:
            raise UserError(f"the step between profiled images is 1 to 90 degrees, not {self.profile_step_deg:g}")


def build_pack(
    dataset: str | Path,
    out: str | Path,
    options: LabelOptions = LabelOptions(),
    progress: Callable[[int, int], object] | None = None,
    warn: Callable[[str], object] | None = None,
) -> Path:
    """Label a data set and write it as a pack.

    An interrupted run continues after its last complete part when it is started again with the same arguments.

    Args:
        dataset: folder or archive that a reader knows.
        out: directory of the pack.
        options: see `LabelOptions`.
        progress: called with the number of faces that are done and that there are.
        warn: called with each warning; by default warnings go to `warnings.warn`.

    Returns:
        The directory.
    """
    model = open_face() if options.model is None else read_model(options.model)
    observations = read_observations(open_reader(dataset, model), options.limit)
    warn = warn or warnings.warn
    for line in point_order_warnings(observations.points[:, :68, :2], model):
        warn(line)
    writer = PackWriter(out, _identity(observations, model, options))
    name = options.source_name or Path(dataset).name.partition(".")[0]
    labels, calibration = _label(PointModel.create(model, observation_matrix()), observations, options)
    if failed := int((labels.weight < _FAILED_WEIGHT).sum()):
        warn(f"{failed} of {len(observations)} faces could not be labelled well; they have a weight below 0.05")
    rows = _RowMaker(model, observations, labels, name, options)
    for part, start in enumerate(range(0, len(observations), _PART)):
        stop = min(start + _PART, len(observations))
        if not writer.has(part):
            writer.write(part, rows.make(range(start, stop)))
        if progress:
            progress(stop, len(observations))
    drop, dropped = _rows_to_drop(*writer.hashes(), options)
    reader = observations.reader
    manifest = {
        "sources": {name: {"path": str(dataset), "licence": reader.licence, "digest": reader.digest()}},
        "model": model.name,
        "model_digest": model.digest,
        "n_shape": model.n_shape,
        "n_expression": model.n_expression,
        "mm_per_unit": model.mm_per_unit,
        "made_by": f"synergy {synergy.__version__}",
        "problems": [f"{problem.name}: {problem.reason}" for problem in reader.problems],
        "dropped": dropped,
        "statistics": _statistics(labels),
    }
    pack = writer.finish(manifest, drop)
    calibration.save(pack.path / "calibration.npz")
    return pack.path


def _identity(observations: Observations, model: MorphableModel, options: LabelOptions) -> dict[str, Any]:
    """Return what identifies the pack: options, and digests of the files instead of their paths."""
    files = {"teacher": _digest(options.teacher), "calibration": _digest(options.calibration)}
    content = {"dataset": observations.reader.digest(), "model": model.digest, "version": synergy.__version__}
    return {**asdict(options), **files, **content}


def _digest(path: str | Path | None) -> str | None:
    """Return the first 16 hexadecimal digits of a file's SHA-256."""
    if path is None:
        return None
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()[:16]
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None


def _label(point_model: PointModel, observations: Observations, options: LabelOptions) -> tuple[Labels, Calibration]:
    """Calibrate and label all faces."""
    points = torch.from_numpy(flip_y(observations.points))
    predicted = None
    if options.teacher is not None:
        predicted = read_predictions(options.teacher, observations.names, point_model)
    if options.calibration is not None:
        calibration = Calibration.load(options.calibration)
    elif predicted is not None:
        exists = predicted.log_scale.isfinite()
        calibration = Calibration.estimate(point_model, predicted[exists], points[exists])
    else:
        calibration = Calibration.default(point_model)
    return label_faces(point_model, points, predicted, calibration), calibration


class _RowMaker:
    """Make the rows of a pack. An image that cannot be used is listed in `reader.problems` and left out."""

    def __init__(
        self, model: MorphableModel, observations: Observations, labels: Labels, name: str, options: LabelOptions
    ) -> None:
        self._reader, self._indices = observations.reader, observations.indices
        self._faces, self._model = labels.faces, PointModel.create(model)
        self._profiler = None
        if options.profile_step_deg is not None:
            dense = model if model.is_dense else open_face()
            self._profiler = FaceProfiler(dense, options.profile_step_deg, CROP_SIZE)
        landmarks = flip_y(centre_depth(labels.faces.project(self._model))).numpy()
        boxes = np.where(np.isfinite(observations.boxes), observations.boxes, landmark_box(landmarks))
        self._crop = square_crop(boxes, CROP_SIZE)
        annotated = transform_points(self._crop, observations.points[..., :2])
        left_top = -self._crop[:, :, 2] / self._crop[:, :1, 0]
        n = len(observations)
        self._columns: dict[str, Any] = {
            "names": observations.names,
            "sources": [name] * n,
            "split": [options.split] * n,
            "landmarks68": transform_points(self._crop, landmarks),
            "visibility68": observations.visibility,
            "params": self._vectors(labels.faces.transform(self._crop)),
            "pose_deg": matrix_to_euler(labels.faces.rotation).rad2deg().numpy(),
            "weight": labels.weight.numpy(),
            "residual": labels.residual.numpy(),
            "annotated68": annotated[:, :68],
            "annotated21": annotated[:, 68:],
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
        landmarks = flip_y(faces.project(self._model))[0].numpy()
        visibility = np.where(row["visibility68"] == OCCLUDED, OCCLUDED, VISIBLE)
        unknown = {name: np.full_like(row[name], np.nan) for name in ("annotated68", "annotated21", "crop", "residual")}
        rows = []
        for view in self._profiler.draw(photo, landmarks, faces.rotation[0].numpy()):
            rotated = faces.rotate(view.rotation, flip_y(view.centre)).transform(view.crop[None])
            pose_deg = matrix_to_euler(rotated.rotation)[0].rad2deg().numpy()
            rows.append({
                **row,
                **unknown,
                "image": view.image,
                "names": f"{row['names']}#yaw{pose_deg[1]:+.0f}",
                "sources": f"{row['sources']}+profile",
                "landmarks68": centre_depth(view.landmarks),
                "visibility68": np.where(view.visible, visibility, SELF_OCCLUDED),
                "params": self._vectors(rotated)[0],
                "pose_deg": pose_deg,
                "weight": row["weight"] * _PROFILED_WEIGHT,
            })  # fmt: skip
        return rows

    def _vectors(self, faces: FaceParameters) -> Floats:
        """Return parameter vectors (N, 12 + K) of faces in the crop whose landmarks have z with zero mean."""
        depth = faces.project(self._model)[..., 2].mean(1)
        translation = faces.translation - depth[:, None] * torch.tensor([0.0, 0.0, 1.0])
        return replace(faces, translation=translation).to_vectors(self._model, float(CROP_SIZE)).numpy()


def _statistics(labels: Labels) -> dict[str, float]:
    """Summarise the quality of labels for the manifest."""
    residual = labels.residual[labels.residual.isfinite()]
    median, high = residual.quantile(residual.new_tensor([0.5, 0.95])).tolist() if len(residual) else (0.0, 0.0)
    return {
        "residual_median_percent": round(median, 3),
        "residual_95_percent": round(high, 3),
        "converged": round(float(labels.converged.double().mean()), 4),
        "mean_weight": round(float(labels.weight.mean()), 4),
    }


def _rows_to_drop(
    names: NDArray[np.str_], hashes: Bits, options: LabelOptions
) -> tuple[NDArray[np.bool_], dict[str, list[str]]]:
    """Find repeated and held-out photos. The profiled images of a photo are dropped with it.

    Args:
        names: (N,) names of the rows.
        hashes: (N, 2, 256) hashes of each row's image and of its mirror image.
        options: with the held-out data sets.

    Returns:
        Rows to drop (N,), and the names of dropped photos by reason.
    """
    photos = np.array([name.partition("#")[0] for name in names])
    original = photos == names
    plain, mirrored = hashes[original, 0], hashes[original, 1]
    held_out = np.concatenate([plain[:0], *(_dataset_hashes(path) for path in options.held_out)])
    known = (find_copies(plain, held_out) >= 0) | (find_copies(mirrored, held_out) >= 0)
    repeated = (find_repeats(plain, mirrored) >= 0) & ~known
    dropped = {"held out": names[original][known].tolist(), "repeated": names[original][repeated].tolist()}
    return np.isin(photos, dropped["held out"] + dropped["repeated"]), dropped


def _dataset_hashes(path: str | Path) -> Bits:
    """Return hashes (N, 256) of the faces of a data set, cropped around their annotations as for training."""
    reader, hashes = open_reader(path), []
    for sample in reader:
        box = sample.box if reader.is_cropped and sample.box is not None else landmark_box(sample.landmarks68)
        if np.isfinite(box).all():
            hashes.append(image_hash(warp(sample.image, square_crop(box, CROP_SIZE), CROP_SIZE)))
    return np.stack(hashes) if hashes else np.empty((0, 256), np.int8)
