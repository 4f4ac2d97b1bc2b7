"""Read and write the predictions of networks for the faces of a data set.

A prediction file is an `.npz` with `names` (N,) and, for each network NAME, one of

    NAME_landmarks (N, 68, 3) and NAME_rotation (N, 3, 3)    3D landmarks and head pose
    NAME_rotation (N, 3, 3)                                  head pose only
    NAME68 (N, 68, 2)                                        2D landmarks only

Landmarks are in pixels of the stored image, y down, larger z nearer. Rotations are in the convention of
`synergy.geometry`. Rows with NaN have no prediction. Other arrays are not used.
"""

from __future__ import annotations

import itertools
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from bfm_assets.safe_files import ModelFileError, read_arrays
from eval.metrics import box_size
from synergy.crop import LANDMARK_MARGIN, invert_affine, square_crop, transform_points, warp
from synergy.data import SampleError
from synergy.data.opening import open_reader
from synergy.defaults import MIN_CONFIDENCE
from synergy.engines import Network
from synergy.errors import UserError
from synergy.geometry import decompose_pose
from synergy.parameters import split_pose
from synergy.predictor import FacePredictor
from train.blendshape_scores import NAMES
from train.packs.pack import CROP_SIZE, Pack

Floats = NDArray[np.float64]

_BATCH = 512
_SHAPES = {"_landmarks": (68, 3), "_rotation": (3, 3), "68": (68, 2)}


@dataclass(frozen=True)
class Prediction:
    """The predictions of one network for N faces, NaN where there is none.

    Attributes:
        name: of the network.
        landmarks: (N, 68, 3) or (N, 68, 2) in pixels of the stored image, y down; None if it predicts the pose only.
        rotation: (N, 3, 3); None if it predicts 2D landmarks only.
    """

    name: str
    landmarks: Floats | None
    rotation: Floats | None


def read_predictions(paths: Sequence[str | Path], names: Sequence[str]) -> list[Prediction]:
    """Read the predictions of all networks in some files.

    Args:
        paths: prediction files.
        names: names of the N faces of the data set. A face has the row of the same name. If there is none, it has the
            row whose name has the same last component.

    Raises:
        UserError: a file is not a prediction file or has none of the names, two networks have one name, or it is not
            clear which row belongs to a face.
    """
    found: dict[str, Prediction] = {}
    for path in paths:
        for prediction in _read_file(path, names):
            if prediction.name in found:
                raise UserError(f"{path}: the predictions of '{prediction.name}' were given twice")
            found[prediction.name] = prediction
    return list(found.values())


def _read_file(path: str | Path, names: Sequence[str]) -> list[Prediction]:
    try:
        arrays = read_arrays(path, ("names",), "prediction file")
    except ModelFileError as error:
        raise UserError(str(error)) from None
    order, n = _match(path, arrays["names"].tolist(), names), len(arrays["names"])
    if not (order >= 0).any():
        raise UserError(f"{path}: no prediction is for one of the {len(names)} faces, such as {names[0]}")
    columns: dict[str, dict[str, Floats]] = {}
    for key, array in arrays.items():
        for suffix, shape in _SHAPES.items():
            if key.endswith(suffix):
                if array.shape != (n, *shape):
                    raise UserError(f"{path}: {key} is {array.shape}, expected {(n, *shape)}")
                ordered = array[order].astype(np.float64)
                ordered[order < 0] = np.nan
                columns.setdefault(key.removesuffix(suffix), {})[suffix] = ordered
    if not columns:
        raise UserError(f"{path}: no predictions; expected NAME_landmarks and NAME_rotation, found {sorted(arrays)}")
    for name, column in columns.items():
        if set(column) == {"_landmarks"}:
            raise UserError(f"{path}: {name}_landmarks needs {name}_rotation next to it")
        if set(column) == {"68", "_rotation"}:
            raise UserError(f"{path}: {name}68 is 2D, and {name}_rotation next to it needs another name")
    return [
        Prediction(name, column.get("_landmarks", column.get("68")), column.get("_rotation"))
        for name, column in columns.items()
    ]


def read_blendshapes(
    path: str | Path, dataset: Path, teachers: Sequence[str | Path], names: Sequence[str]
) -> NDArray[np.float16]:
    """Read blendshape scores for the faces of a data set.

    Args:
        path: an `.npz` with one array (M, 52) per data set. Its key is the file name of the data set without suffixes.
        dataset: the data set.
        teachers: prediction files. The rows of the array are those of the one called `DATASET_teachers.npz`.
        names: names of the N faces, matched as in `read_predictions`.

    Returns:
        Scores (N, 52), NaN where unknown.

    Raises:
        UserError: a file is missing or does not fit.
    """
    key = dataset.name.partition(".")[0]
    rows_of = next((teacher for teacher in teachers if Path(teacher).name == f"{key}_teachers.npz"), None)
    if rows_of is None:
        raise UserError(f"{path}: blendshapes need {key}_teachers.npz among the teachers: it has the names of the rows")
    try:
        scores = read_arrays(path, (key,), "file of blendshape scores")[key]
        labelled = read_arrays(rows_of, ("names",), "prediction file")["names"].tolist()
    except ModelFileError as error:
        raise UserError(str(error)) from None
    if scores.shape != (len(labelled), len(NAMES)):
        raise UserError(f"{path}: {key} is {scores.shape}, expected {(len(labelled), len(NAMES))}")
    order = _match(rows_of, labelled, names)
    return np.where(order[:, None] < 0, np.float16(np.nan), scores[order])


def _match(path: str | Path, stored: Sequence[str], names: Sequence[str]) -> NDArray[np.int64]:
    """Return the row (N,) of each name in a file, -1 for none.

    Args:
        path: the file, for the error message.
        stored: names of its rows.
        names: see `read_predictions`.

    Raises:
        UserError: only the last component matches, and several rows or several names have it.
    """
    by_name = {name: row for row, name in enumerate(stored)}
    by_last = {_last(name): row for row, name in enumerate(stored)}
    n_rows, n_names = Counter(map(_last, stored)), Counter(map(_last, names))

    def row_of(name: str) -> int:
        last = _last(name)
        if name in by_name or last not in by_last:
            return by_name.get(name, -1)
        if n_rows[last] > 1 or n_names[last] > 1:
            raise UserError(f"{path}: it is not clear which row belongs to {name}: '{last}' occurs several times")
        return by_last[last]

    return np.array([row_of(name) for name in names])


def _last(name: str) -> str:
    """Return the last component of a path."""
    return PurePosixPath(name).name


def predict_photos(
    source: str | Path,
    out: str | Path,
    net: Network,
    progress: Callable[[int, int], object],
    keep: float = 1.0,
    name: str = "network",
    warn: Callable[[str], object] = warnings.warn,
) -> tuple[int, int]:
    """Write a network's predictions for photos as a prediction file.

    A network that was trained on thousands of labels has less noise than one label. Labels made with its predictions
    are therefore better than those it was trained on. Each prediction is the mean of those for the crop and for its
    mirror image. The file also has `NAME_uncertainty` (N,), in percent of the face size sqrt(w h) of the predicted
    landmarks. It is the mean standard deviation of the landmarks if the network predicts one. Otherwise it is the mean
    distance between the landmarks of the crop and those of its mirror image. A systematic error, which both have in
    common, does not change this distance.

    Args:
        source: a pack, or a data set whose faces have a box or annotations. Profiled and rendered images of a pack are
            left out.
        out: the `.npz` to write.
        net: the network.
        progress: called with the number of photos that are done and that there are.
        keep: fraction of the predictions to keep: those with the smallest uncertainty. If it is below 1 and the network
            predicts a confidence, faces below `synergy.defaults.MIN_CONFIDENCE` are left out first, and it is the
            fraction of the others. Rows that are not kept are NaN, which means that they have no prediction.
        name: NAME in the file. Teachers of one label need different names.
        warn: called with one line for each photo of a data set that is left out.

    Returns:
        The number of kept photos, and of all.

    Raises:
        UserError: the source has no photo, or its crops do not fit the network.
    """
    crops = _pack_crops(Pack.open(source), net) if Pack.is_at(source) else _crops(source, net, warn)
    mean, plain = FacePredictor(net, mirror=True), FacePredictor(net)
    parts: list[_Part] = []
    while some := list(itertools.islice(crops.found, _BATCH)):
        parts.append(_predict(mean, plain, some))
        progress(sum(len(part.names) for part in parts), crops.total)
    if not parts:
        raise UserError(f"{source}: no photo to predict")
    found = _Part(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))
    kept = np.ones(len(found.names), bool)
    if keep < 1:
        kept = found.confidence >= MIN_CONFIDENCE
        kept &= found.uncertainty <= np.quantile(found.uncertainty[kept], keep) if kept.any() else kept
    arrays: dict[str, Any] = {
        "landmarks": np.where(kept[:, None, None], found.landmarks, np.nan).astype(np.float32),
        "rotation": np.where(kept[:, None, None], found.rotation, np.nan),
        "uncertainty": found.uncertainty.astype(np.float32),
    }
    np.savez_compressed(out, names=found.names, **{f"{name}_{key}": array for key, array in arrays.items()})
    return int(kept.sum()), len(kept)


_Crop = tuple[str, NDArray[np.uint8], NDArray[np.floating]]


class _Crops(NamedTuple):
    """Crops of photos.

    Attributes:
        total: the number of photos.
        found: yields the name, the crop and the map (2, 3) from the photo to the crop of each photo that can be read.
    """

    total: int
    found: Iterator[_Crop]


def require_pack_crops(pack: Pack, net: Network) -> None:
    """Check that the crops of a pack are those that a network wants.

    Raises:
        UserError: they are not.
    """
    if net.size != CROP_SIZE or not np.isclose(net.margin, LANDMARK_MARGIN):
        raise UserError(
            f"{pack.path}: a pack has crops of {CROP_SIZE} px, but the network wants {net.size} px, or another margin; "
            "synergy label predict reads the data set instead"
        )


def _pack_crops(pack: Pack, net: Network) -> _Crops:
    """Return the photos of a pack, whose crops must be those of the network."""
    require_pack_crops(pack, net)
    photos = np.flatnonzero(np.isfinite(pack.crop[:, 0]))
    left, top, scale = pack.crop[photos].T
    zero = np.zeros_like(scale)
    affines = np.stack([scale, zero, -left * scale, zero, scale, -top * scale], -1).reshape(-1, 2, 3)
    rows = zip(photos.tolist(), affines, strict=True)
    return _Crops(len(photos), ((str(pack.names[row]), pack.image(row), affine) for row, affine in rows))


def _crops(source: str | Path, net: Network, warn: Callable[[str], object]) -> _Crops:
    """Return the crops of a data set around boxes or annotations. Faces without them or without image are left out."""
    reader = open_reader(source)

    def find() -> Iterator[_Crop]:
        for index, name in enumerate(reader.names):
            try:
                sample = reader.read(index)
            except SampleError as error:
                warn(f"{name}: {error}")
                continue
            affine = square_crop(reader.box_of(sample), net.size, net.margin)
            if np.isfinite(affine).all():
                yield sample.name, warp(sample.image, affine, net.size), affine
            else:
                warn(f"{name}: neither a box nor landmarks")

    return _Crops(len(reader.names), find())


class _Part(NamedTuple):
    """Predictions for some photos, in pixels of the photos. The confidence is 1 if the network predicts none."""

    names: NDArray[np.str_]
    landmarks: Floats
    rotation: Floats
    uncertainty: Floats
    confidence: Floats


def _predict(mean: FacePredictor, plain: FacePredictor, crops: list[_Crop]) -> _Part:
    """Predict crops. `mean` is the mean with the mirror image, `plain` predicts the crop alone."""
    images = np.stack([image for _, image, _ in crops])
    affines = np.stack([affine for *_, affine in crops]).astype(np.float64)
    found = mean.predict_crops(images)
    landmarks, std = found.landmarks.astype(np.float64), found.landmark_std
    if std is None:
        # The mean lies half way between the predictions for the crop and for its mirror image.
        single = plain.predict_crops(images).landmarks
        std = 2 * np.linalg.norm((single - landmarks)[..., :2], axis=-1)
    rotation = decompose_pose(split_pose(torch.from_numpy(found.params))[0])[1].numpy()
    confidence = np.ones(len(images), np.float32) if found.confidence is None else found.confidence
    size = box_size(landmarks[..., :2])
    return _Part(
        np.array([name for name, *_ in crops]),
        transform_points(np.asarray(invert_affine(affines), np.float64), landmarks),
        rotation.astype(np.float64),
        100 * std.mean(-1) / size,
        confidence.astype(np.float64),
    )
