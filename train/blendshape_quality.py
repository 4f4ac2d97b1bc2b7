"""Compare predicted blendshape weights with another network's scores, or with the weights of rendered faces."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bfm_assets import MorphableModel
from synergy.blendshapes import blendshape_weights
from synergy.errors import UserError
from synergy.parameters import split_parameters
from synergy.predictor import FacePredictor
from train.annotate.predictions import require_pack_crops
from train.blendshape_scores import NAMES
from train.packs.pack import Pack, photo_name

Floats = NDArray[np.floating]

# A face is neutral if no true weight, except those of the eyes, is larger than this. Scores of eyes are never zero.
_NEUTRAL = 0.1
_BATCH = 256


@dataclass(frozen=True)
class ShapeQuality:
    """How well the weights of one blendshape are predicted.

    Attributes:
        name: ARKit's name.
        true_mean, true_std: mean and standard deviation of the true weights or scores.
        correlation: Pearson correlation of predicted and true weights; NaN if one of them is constant.
        error: mean absolute difference.
        neutral: mean predicted weight of neutral faces; NaN if there are none.
    """

    name: str
    true_mean: float
    true_std: float
    correlation: float
    error: float
    neutral: float


def compare_weights(names: tuple[str, ...], predicted: Floats, true: Floats) -> list[ShapeQuality]:
    """Compare weights shape by shape.

    Args:
        names: of the M shapes.
        predicted: (N, M).
        true: (N, M).

    Returns:
        One entry per shape, the one with the largest standard deviation of the true weights first.
    """
    eyes = np.array([name.startswith("eye") for name in names])
    is_neutral = (true[:, ~eyes] <= _NEUTRAL).all(1)
    found = []
    for i, name in enumerate(names):
        mine, other = predicted[:, i], true[:, i]
        varies = mine.std() > 0 and other.std() > 0
        found.append(
            ShapeQuality(
                name=name,
                true_mean=float(other.mean()),
                true_std=float(other.std()),
                correlation=float(np.corrcoef(mine, other)[0, 1]) if varies else float("nan"),
                error=float(np.abs(mine - other).mean()),
                neutral=float(mine[is_neutral].mean()) if is_neutral.any() else float("nan"),
            )
        )
    return sorted(found, key=lambda shape: -shape.true_std)


def measure_blendshapes(
    pack_path: Path, predictor: FacePredictor, progress: Callable[[int, int], object]
) -> list[ShapeQuality]:
    """Predict the blendshape weights of a pack's faces and compare them.

    The true weights are the scores in the pack. A pack of rendered faces has no scores; its own expression coefficients
    are the true weights then. Profiled images are left out.

    Args:
        pack_path: the pack.
        predictor: a network whose morphable model has named expression modes.
        progress: called with the number of faces that are done and that there are.

    Raises:
        UserError: the morphable model has no named modes, the pack has no true weights, or its crops do not fit the
            network.
    """
    pack, model = Pack.open(pack_path), predictor.net.morphable_model
    if not model.expression_names:
        raise UserError(f"morphable model '{model.name}' has no named expression modes")
    require_pack_crops(pack, predictor.net)
    names, rows, true = _true_weights(pack, model)
    columns = [model.expression_names.index(name) for name in names]
    predicted = []
    for start in range(0, len(rows), _BATCH):
        crops = np.stack([pack.image(int(row)) for row in rows[start : start + _BATCH]])
        expressions = split_parameters(predictor.predict_crops(crops)[1], model.n_shape)[2]
        predicted += [list(blendshape_weights(model, expression).values()) for expression in expressions]
        progress(len(predicted), len(rows))
    return compare_weights(names, np.array(predicted)[:, columns], true)


def _true_weights(pack: Pack, model: MorphableModel) -> tuple[tuple[str, ...], NDArray[np.integer], Floats]:
    """Return the names of M shapes, the rows (N,) of the pack with true weights, and these weights (N, M)."""
    is_photo = np.array([photo_name(name) == name for name in pack.names.tolist()])
    rows = np.flatnonzero(np.isfinite(pack.blendshapes).all(1) & is_photo)
    if len(rows):
        names = tuple(name for name in NAMES if name in model.expression_names)
        scores = np.asarray(pack.blendshapes[rows], np.float64)
        return names, rows, scores[:, [NAMES.index(name) for name in names]]
    if pack.manifest["model_digest"] != model.digest or np.isfinite(pack.crop).any():
        raise UserError(f"{pack.path}: has no blendshape scores; build it with --blendshapes")
    expression = split_parameters(np.asarray(pack.params, np.float64), model.n_shape)[2]
    return model.expression_names, np.arange(len(pack)), expression
