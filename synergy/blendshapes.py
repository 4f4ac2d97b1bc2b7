"""Blendshape weights in 0..1 of a face's expression coefficients."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bfm_assets import MorphableModel

# Weight of staying at the clipped coefficients, in units of the mean squared landmark displacement of a blendshape.
# It decides about shapes that move no landmark (gaze, for example), which the landmarks leave open.
_RIDGE = 1e-2
# Largest number of steps of the bounded least squares. The faces of 120 AFLW photos take 1 to 5.
_MAX_STEPS = 30


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
        weights = _bounded_least_squares(np.concatenate([displacement, ridge]), target, clipped)
    return dict(zip(model.expression_names, weights.tolist(), strict=True))


def _bounded_least_squares(
    matrix: NDArray[np.float64], target: NDArray[np.float64], start: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Minimise the distance of `matrix @ x` to a target over x in 0..1.

    Each step solves for the free variables, with the others at their bounds. Then every variable that violates its
    bound is put to it, and every variable at a bound that the gradient pulls away from it becomes free. Where no
    variable changes its place, x is the minimum. This takes a few small linear systems, while scipy's solver changes
    one variable at a time. The steps can repeat themselves in rare cases, which scipy then solves.

    Args:
        matrix: (M, N) of full column rank.
        target: (M,).
        start: (N,) values in 0..1. Those that are not at a bound are free at first.

    Returns:
        x (N,).
    """
    gram, pull = matrix.T @ matrix, matrix.T @ target
    tolerance = 1e-12 * gram.diagonal().max()
    free, upper = (start > 0) & (start < 1), start >= 1
    for _ in range(_MAX_STEPS):
        x = upper.astype(np.float64)
        x[free] = np.linalg.solve(gram[np.ix_(free, free)], pull[free] - gram[np.ix_(free, upper)].sum(1))
        gradient = gram @ x - pull
        below, above = free & (x < 0), free & (x > 1)
        released = ~free & np.where(upper, gradient > tolerance, gradient < -tolerance)
        if not (below | above | released).any():
            return x
        free, upper = (free & ~below & ~above) | released, (upper | above) & ~released
    from scipy.optimize import lsq_linear  # takes 0.2 s, and is rarely needed

    return np.asarray(lsq_linear(matrix, target, bounds=(0, 1), method="bvls").x.clip(0, 1), np.float64)
