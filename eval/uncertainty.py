"""How well predicted uncertainties match the errors of one evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from eval.calibration import (
    LANDMARK_DIMENSIONS,
    ROTATION_DIMENSIONS,
    Reliability,
    coverage,
    landmark_squares,
    reliability,
    rotation_squares,
)
from eval.predictions import Predictions
from eval.result import ProtocolResult, Table
from synergy.data.sample import FaceSample
from synergy.geometry import euler_to_matrix, rotation_vector

_COLUMNS = ("errors of", "number", "within 1 std", "nominal", "within 2 std", "nominal", "mean difference")
_NOTE = (
    "The predicted uncertainties are those of errors against the labels of the training data. Labels of another "
    "definition, or with errors of their own, add errors that no network can predict."
)


def add_uncertainty(result: ProtocolResult, predictions: Predictions) -> ProtocolResult:
    """Add the calibration of predicted uncertainties to the scores, under `uncertainty`, and as a table and curves.

    Args:
        result: of a protocol.
        predictions: the predictions that were scored. Without uncertainties the result stays as it is.
    """
    squares: dict[str, tuple[NDArray[np.float64], int]] = {}
    if predictions.landmarks68_std is not None:
        found = landmark_squares(result.predicted[..., :2], result.true[..., :2], predictions.landmarks68_std)
        squares["landmarks"] = found[np.isfinite(found)], LANDMARK_DIMENSIONS
    if predictions.rotation_covariance is not None and predictions.rotation is not None:
        error = rotation_errors(predictions.rotation, result.samples)
        found = rotation_squares(error, predictions.rotation_covariance)
        squares["rotation"] = found[np.isfinite(found)], ROTATION_DIMENSIONS
    squares = {name: (values, dimensions) for name, (values, dimensions) in squares.items() if len(values)}
    if not squares:
        return result
    curves: dict[str, Reliability] = {}
    scores: dict[str, dict[str, Any]] = {}
    rows = []
    for name, (values, dimensions) in squares.items():
        curves[name] = reliability(values, dimensions)
        observed, nominal = coverage(values, dimensions)
        scores[name] = {"within": list(observed), "nominal": list(nominal), "mean_difference": curves[name].error}
        cells = [f"{value:.1f}" for pair in zip(observed, nominal, strict=True) for value in pair]
        rows.append((name, str(len(values)), *cells, f"{curves[name].error:.1f}"))
    table = Table("Uncertainty: errors within the predicted standard deviations (%)", _COLUMNS, tuple(rows), note=_NOTE)
    return replace(
        result, scores={**result.scores, "uncertainty": scores}, tables=[*result.tables, table], reliability=curves
    )


def rotation_errors(rotation: NDArray[np.floating], samples: Sequence[FaceSample]) -> NDArray[np.float64]:
    """Return the rotation vectors from predicted to true rotations.

    Args:
        rotation: (N, 3, 3) predicted rotations.
        samples: N samples.

    Returns:
        (N, 3) in radians, in the camera's frame, NaN where a sample has no true pose.
    """
    unknown = np.full(3, np.nan)
    true_deg = np.stack([unknown if sample.pose_deg is None else sample.pose_deg for sample in samples])
    known = np.isfinite(true_deg).all(-1)
    error = np.full((len(samples), 3), np.nan)
    true = euler_to_matrix(torch.from_numpy(np.radians(true_deg[known].astype(np.float64))))
    predicted = torch.from_numpy(rotation[known].astype(np.float64))
    error[known] = rotation_vector(true @ predicted.mT).numpy()
    return error
