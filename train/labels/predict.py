"""A trained network's predictions for a pack's photos, as `--teacher` of a refinement round.

A network that has learnt from thousands of labels is less noisy than any one of them: predict, label again with the
predictions as the prior, train again. Views and renders have no photo and no line.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from bfm_assets import MorphableModel
from synergy.geometry import decompose_pose
from synergy.parameters import split_pose
from synergy.predictor import FacePredictor
from train.labels.pack import Pack
from train.relabel import fit_coefficients

_CHUNK = 512


def predict_pack(
    pack_path: str | Path,
    out: str | Path,
    predictor: FacePredictor,
    model: MorphableModel,
    progress: Callable[[int, int], object],
) -> None:
    """Write the `.npz` that `train.labels.source.read_teacher` reads: names, parameters of `model`, crop_affine.

    The rotation is the network's; scale, translation and coefficients are those of `model` that fit its landmarks.
    """
    pack = Pack.open(pack_path)
    photos = np.flatnonzero(np.isfinite(pack.crop[:, 0]))
    images, params = pack.images(), []
    for start in range(0, len(photos), _CHUNK):
        some = photos[start : start + _CHUNK]
        landmarks, predicted = predictor.predict_crops(images[some])
        rotation = decompose_pose(torch.from_numpy(split_pose(predicted)[0]))[1].numpy()
        params.append(fit_coefficients(model, landmarks, rotation))
        progress(start + len(some), len(photos))
    left, top, scale = pack.crop[photos].T
    zero = np.zeros_like(scale)
    affine = np.stack([scale, zero, -left * scale, zero, scale, -top * scale], -1).reshape(-1, 2, 3)
    np.savez_compressed(out, names=pack.names[photos], params=np.concatenate(params), crop_affine=affine)
