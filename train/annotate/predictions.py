"""Read and write the predictions of networks for the faces of a data set.

A prediction file is an `.npz` with `names` (N,) and, for each network NAME, one of

    NAME_landmarks (N, 68, 3) and NAME_rotation (N, 3, 3)    3D landmarks and head pose
    NAME_rotation (N, 3, 3)                                  head pose only
    NAME68 (N, 68, 2)                                        2D landmarks only

Landmarks are in pixels of the stored image, y down, larger z nearer. Rotations are in the convention of
`synergy.geometry`. Rows with NaN have no prediction. Other arrays are not used.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from numpy.typing import NDArray

from bfm_assets.safe_files import ModelFileError, read_arrays
from synergy.crop import invert_affine, transform_points
from synergy.errors import UserError
from synergy.geometry import decompose_pose
from synergy.parameters import split_pose
from synergy.predictor import FacePredictor
from train.packs.pack import N_BLENDSHAPES, Pack

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
        paths: prediction files. Their names match by the last component.
        names: names of the N faces of the data set.

    Raises:
        UserError: a file is not a prediction file, or two networks have one name.
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
    order, n = _match(arrays["names"].tolist(), names), len(arrays["names"])
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
    if bad := next((name for name, column in columns.items() if set(column) == {"_landmarks"}), None):
        raise UserError(f"{path}: {bad}_landmarks needs {bad}_rotation next to it")
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
        names: names of the N faces, matched by their last component.

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
    if scores.shape != (len(labelled), N_BLENDSHAPES):
        raise UserError(f"{path}: {key} is {scores.shape}, expected {(len(labelled), N_BLENDSHAPES)}")
    order = _match(labelled, names)
    return np.where(order[:, None] < 0, np.float16(np.nan), scores[order])


def _match(stored: Sequence[str], names: Sequence[str]) -> NDArray[np.int64]:
    """Return the row (N,) of each name in a file, -1 for none. Names match by their last component."""
    rows = {PurePosixPath(name).name: row for row, name in enumerate(stored)}
    return np.array([rows.get(PurePosixPath(name).name, -1) for name in names])


def predict_pack(
    pack_path: str | Path, out: str | Path, predictor: FacePredictor, progress: Callable[[int, int], object]
) -> None:
    """Write a network's predictions for the photos of a pack as a prediction file.

    A network that was trained on thousands of labels has less noise than one label. Labels made with its predictions
    are therefore better than those it was trained on. Profiled and rendered images are not in the file.

    Args:
        pack_path: a pack.
        out: the `.npz` to write.
        predictor: the network.
        progress: called with the number of photos that are done and that there are.
    """
    pack = Pack.open(pack_path)
    photos = np.flatnonzero(np.isfinite(pack.crop[:, 0]))
    landmarks, rotations = [], []
    for start in range(0, len(photos), _BATCH):
        some = photos[start : start + _BATCH]
        in_crop, params, *_ = predictor.predict_crops(np.stack([pack.image(int(i)) for i in some]))
        left, top, scale = pack.crop[some].T
        zero = np.zeros_like(scale)
        affine = np.stack([scale, zero, -left * scale, zero, scale, -top * scale], -1).reshape(-1, 2, 3)
        landmarks.append(transform_points(invert_affine(affine), in_crop.astype(np.float64)))
        rotations.append(decompose_pose(split_pose(torch.from_numpy(params))[0])[1].numpy())
        progress(start + len(some), len(photos))
    np.savez_compressed(
        out,
        names=pack.names[photos],
        network_landmarks=np.concatenate(landmarks).astype(np.float32),
        network_rotation=np.concatenate(rotations),
    )
