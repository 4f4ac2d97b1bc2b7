"""Blendshape weights in 0..1 of a face's expression coefficients."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import lsq_linear

from bfm_assets import MorphableModel

# Weight of staying at the clipped coefficients, in units of the mean squared landmark displacement of a blendshape.
# It decides about shapes that move no landmark (gaze, for example), which the landmarks leave open.
_RIDGE = 1e-2


def blendshape_weights(model: MorphableModel, expression: NDArray[np.floating]) -> dict[str, float]:
    """Convert expression coefficients to named weights between 0 and 1.

    Coefficients of a network are not bounded. The weights are those in 0..1 whose 68 landmarks lie nearest to the
    landmarks of the coefficients (bounded least squares), so that a negative `mouthSmileLeft` can become a positive
    `mouthFrownLeft`. Coefficients that lie in 0..1 already are the weights.

    Args:
        model: morphable model with named expression modes, each a displacement at full strength.
        expression: (E,) coefficients.

    Returns:
        Name to weight in the order of `model.expression_names`; empty for a model whose modes have no names.

    Example:
        >>> from bfm_assets import open_face
        >>> weights = blendshape_weights(open_face(), np.zeros(open_face().n_expression))
        >>> set(weights.values())
        {0.0}
    """
    if not model.expression_names:
        return {}
    coefficients = np.asarray(expression, np.float64)
    weights = clipped = coefficients.clip(0, 1)
    if (clipped != coefficients).any():
        displacement = model.expression_basis[model.landmarks].reshape(-1, len(coefficients)).astype(np.float64)
        ridge = np.sqrt(_RIDGE * (displacement**2).sum() / len(coefficients)) * np.eye(len(coefficients))
        target = np.concatenate([displacement @ coefficients, ridge @ clipped])
        solution = lsq_linear(np.concatenate([displacement, ridge]), target, bounds=(0, 1), method="bvls")
        weights = solution.x.clip(0, 1)
    return dict(zip(model.expression_names, weights.tolist(), strict=True))
