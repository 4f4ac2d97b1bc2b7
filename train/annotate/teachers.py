"""Predictions of networks, which serve as priors when a data set is labelled.

A prediction file is an `.npz` with `names` (N,), `NAME_landmarks` (N, 68, 3) in pixels of the stored image (y down,
larger z nearer) and `NAME_rotation` (N, 3, 3) in the convention of `synergy.geometry`, where NAME is a network.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
import torch

from bfm_assets.safe_files import ModelFileError, read_arrays
from synergy.crop import invert_affine, transform_points
from synergy.errors import UserError
from synergy.geometry import decompose_pose
from synergy.parameters import split_pose
from synergy.predictor import FacePredictor
from train.annotate.faces import FaceParameters, PointModel
from train.packs.pack import Pack

# Standard deviation of a predicted landmark about the morphable model, in face sizes.
_FIT_NOISE = 0.01
_BATCH = 512


def read_predictions(path: str | Path, names: Sequence[str], model: PointModel) -> FaceParameters:
    """Read a network's predictions and fit the morphable model to them.

    Args:
        path: prediction file. Its names match by their last component.
        names: names of the N faces of the data set.
        model: the morphable model at the observed points.

    Returns:
        N faces in the image frame, y up; the scale is NaN where the file has no prediction.

    Raises:
        UserError: the file is not a prediction file.
    """
    try:
        arrays = read_arrays(path, ("names",), "prediction file")
    except ModelFileError as error:
        raise UserError(str(error)) from None
    n = len(arrays["names"])
    network = next((key.removesuffix("_landmarks") for key in arrays if key.endswith("_landmarks")), None)
    if network is None or f"{network}_rotation" not in arrays:
        raise UserError(f"{path}: expected arrays NAME_landmarks and NAME_rotation of a network, found {list(arrays)}")
    landmarks, rotation = arrays[f"{network}_landmarks"], arrays[f"{network}_rotation"]
    for key, array, shape in (("landmarks", landmarks, (n, 68, 3)), ("rotation", rotation, (n, 3, 3))):
        if array.shape != shape:
            raise UserError(f"{path}: {network}_{key} is {array.shape}, expected {shape}")
    rows = {PurePosixPath(name).name: row for row, name in enumerate(arrays["names"].tolist())}
    order = np.array([rows.get(PurePosixPath(name).name, -1) for name in names])
    faces = FaceParameters.from_landmarks(
        model, landmarks[order].astype(np.float64), rotation[order].astype(np.float64), _FIT_NOISE
    )
    faces.log_scale[torch.from_numpy(order < 0)] = torch.nan
    return faces


def predict_pack(
    pack_path: str | Path, out: str | Path, predictor: FacePredictor, progress: Callable[[int, int], object]
) -> None:
    """Write a trained network's predictions for the photos of a pack as a prediction file.

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
        in_crop, params = predictor.predict_crops(np.stack([pack.image(int(i)) for i in some]))
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
