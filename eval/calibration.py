"""Calibration of predicted uncertainties: how often errors lie within the predicted limits, as pure functions.

A Gaussian in D dimensions predicts that the squared error, divided by the covariance, has a chi-squared distribution
with D degrees of freedom. `levels` maps every error to the probability of an error that is not larger. The levels of a
calibrated prediction are distributed evenly over 0..1. Landmarks have D = 2, rotations D = 3.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

SIGMAS = (1.0, 2.0)
LANDMARK_DIMENSIONS, ROTATION_DIMENSIONS = 2, 3


def landmark_squares(predicted: ArrayLike, true: ArrayLike, std: ArrayLike) -> Floats:
    """Compute the squared errors of landmarks over their variance.

    Args:
        predicted: (..., 68, 2) in pixels.
        true: (..., 68, 2), NaN where unknown.
        std: (..., 68) standard deviation of x, and of y, in pixels.

    Returns:
        (..., 68), NaN where unknown.
    """
    error = np.asarray(predicted, np.float64) - np.asarray(true, np.float64)
    return np.asarray((error**2).sum(-1) / np.asarray(std, np.float64) ** 2)


def rotation_squares(error: ArrayLike, covariance: ArrayLike) -> Floats:
    """Compute the squared Mahalanobis distances of rotation errors.

    Args:
        error: rotation vectors (..., 3) in radians, in the camera's frame, of the rotation from prediction to truth
            (`synergy.geometry.rotation_vector`); NaN where unknown.
        covariance: (..., 3, 3) in radians squared.

    Returns:
        (...), NaN where unknown.
    """
    e = np.asarray(error, np.float64)
    return np.asarray((e * np.linalg.solve(np.asarray(covariance, np.float64), e[..., None])[..., 0]).sum(-1))


def levels(squares: ArrayLike, dimensions: int) -> Floats:
    """Compute the predicted probabilities of errors that are not larger than the true ones.

    Args:
        squares: squared errors over their variance, of any shape. NaN values are left out.
        dimensions: D.

    Returns:
        (N,) in 0..1, the chi-squared distribution's values.
    """
    values = np.asarray(squares, np.float64)
    half = torch.from_numpy(values[np.isfinite(values)] / 2)
    return np.asarray(torch.special.gammainc(torch.full_like(half, dimensions / 2), half).numpy())


def coverage(squares: ArrayLike, dimensions: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Compute how many errors lie within 1 and 2 standard deviations (`SIGMAS`), in percent.

    Args:
        squares: squared errors over their variance, of any shape. NaN values are left out.
        dimensions: D.

    Returns:
        The observed and the nominal percentages.

    Example:
        >>> coverage([0.5, 1.5, 9.0, 2.0], dimensions=2)[0]
        (25.0, 75.0)
    """
    found = levels(squares, dimensions)
    nominal = levels(np.square(SIGMAS), dimensions)
    observed = [100 * float((found <= limit).mean()) if len(found) else float("nan") for limit in nominal]
    return tuple(observed), tuple(100 * float(limit) for limit in nominal)


class Reliability(NamedTuple):
    """Predicted against observed frequencies, the curve of a reliability plot.

    Attributes:
        predicted: (K,) in 0..1.
        observed: (K,) in 0..1.
    """

    predicted: Floats
    observed: Floats

    @property
    def error(self) -> float:
        """The mean distance of predicted and observed frequency, in percent."""
        return 100 * float(np.abs(self.predicted - self.observed).mean())


def reliability(squares: ArrayLike, dimensions: int, points: int = 21) -> Reliability:
    """Compute the fractions of errors within the limits of given probabilities.

    Args:
        squares: squared errors over their variance, of any shape. NaN values are left out.
        dimensions: D.
        points: number of probabilities K, spread evenly over 0..1.

    Raises:
        ValueError: there is no known error.
    """
    found = np.sort(levels(squares, dimensions))
    if not len(found):
        raise ValueError("there are no errors to compare with")
    probabilities = np.linspace(0, 1, points)
    return Reliability(probabilities, np.searchsorted(found, probabilities, side="right") / len(found))


def fit_temperature(squares: ArrayLike, dimensions: int) -> float:
    """Find the factor of standard deviations with which the errors are best calibrated.

    It minimises the larger of the two differences between observed and nominal `coverage`. A few very large errors have
    little effect on it, in contrast to the likelihood.

    Args:
        squares: squared errors over their variance, of any shape. NaN values are left out.
        dimensions: D.

    Raises:
        ValueError: there is no known error.
    """
    values = np.asarray(squares, np.float64)
    values = values[np.isfinite(values)]
    if not len(values):
        raise ValueError("there are no errors to calibrate with")

    def distance(log_temperature: float) -> float:
        observed, nominal = coverage(values / np.exp(2 * log_temperature), dimensions)
        return max(abs(o - n) for o, n in zip(observed, nominal, strict=True))

    best, width = 0.0, 2.0
    for _ in range(5):
        candidates = np.linspace(best - width, best + width, 21)
        best = float(candidates[np.argmin([distance(candidate) for candidate in candidates])])
        width /= 8
    return float(np.exp(best))
