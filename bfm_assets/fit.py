"""Fit the 68 landmarks of a morphable model to given landmarks, for many faces at once.

Both fits minimise the squared distance to the target points plus a Gaussian prior on the coefficients,

    sum |s R (mean + B c) + t - x|^2 / (s * noise_mm)^2  +  sum (c / std)^2.

Each Gauss-Newton iteration first solves a linear system for the coefficients together with a small change of the pose.
Then it computes the best similarity transform (3D) or scaled orthographic camera (2D) for the new shape.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bfm_assets.schema import N_LANDMARKS, MorphableModel

Array = NDArray[np.float64]


@dataclass(frozen=True)
class LandmarkFitResult:
    """Result of a fit of N faces.

    Attributes:
        shape: (N, S) raw shape coefficients.
        expression: (N, E) raw expression coefficients.
        scale: (N,) units of the target per model unit.
        rotation: (N, 3, 3) from model space to the space of the target.
        translation: (N, 3), or (N, 2) for a fit to 2D points.
        points: (N, K, 3) or (N, K, 2) fitted points in the space of the target.
        residual: (N,) mean distance to the target, in percent of the square root of width times height of the box
            around the target.
    """

    shape: Array
    expression: Array
    scale: Array
    rotation: Array
    translation: Array
    points: Array
    residual: Array


def similarity(source: Array, target: Array) -> tuple[Array, Array, Array]:
    """Find the similarity transforms that bring source points closest to target points (Umeyama, PAMI 1991).

    Args:
        source: (N, K, 3).
        target: (N, K, 3).

    Returns:
        Scale (N,), rotation (N, 3, 3) without reflection, and translation (N, 3).
    """
    from_mean, to_mean = source.mean(1, keepdims=True), target.mean(1, keepdims=True)
    a, b = source - from_mean, target - to_mean
    u, singular, vt = np.linalg.svd(np.swapaxes(b, 1, 2) @ a)
    sign = np.ones_like(singular)
    sign[:, 2] = np.sign(np.linalg.det(u @ vt))
    rotation = (u * sign[:, None, :]) @ vt
    scale = (singular * sign).sum(1) / (a**2).sum((1, 2))
    translation = to_mean[:, 0] - scale[:, None] * np.einsum("nij,nj->ni", rotation, from_mean[:, 0])
    return scale, rotation, translation


def orthographic(source: Array, target: Array) -> tuple[Array, Array, Array]:
    """Find the scaled orthographic cameras that project source points closest to target points.

    Args:
        source: (N, K, 3).
        target: (N, K, 2).

    Returns:
        Scale (N,), rotation (N, 3, 3) and translation (N, 2).
    """
    from_mean, to_mean = source.mean(1, keepdims=True), target.mean(1, keepdims=True)
    affine = np.swapaxes(np.linalg.pinv(source - from_mean) @ (target - to_mean), 1, 2)
    u, singular, vt = np.linalg.svd(affine, full_matrices=False)
    rows = u @ vt
    rotation = np.concatenate([rows, np.cross(rows[:, 0], rows[:, 1])[:, None]], 1)
    scale = singular.mean(1)
    translation = to_mean[:, 0] - scale[:, None] * np.einsum("nij,nj->ni", rows, from_mean[:, 0])
    return scale, rotation, translation


def _bases(model: MorphableModel, indices: NDArray[np.intp]) -> tuple[Array, Array, Array]:
    """Return mean (K, 3), basis (K, 3, S + E) and standard deviations (S + E,) of the chosen landmarks."""
    points = model.landmark_model()
    mean, basis, std = points.mean[indices], points.basis[indices], points.coefficient_std
    return mean.astype(np.float64), basis.astype(np.float64), std.astype(np.float64)


def _pose_columns(points: Array) -> Array:
    """Return the derivative (N, K, 3, 7) of points (N, K, 3) by rotation vector, log scale and translation."""
    n, k, _ = points.shape
    columns = np.zeros((n, k, 3, 7))
    for axis in range(3):
        columns[..., axis] = np.cross(np.eye(3)[axis], points)
        columns[..., axis, 4 + axis] = 1
    columns[..., 3] = points
    return columns


def fit_landmarks_3d(
    model: MorphableModel, targets: Array, noise_mm: float = 1.0, iterations: int = 10
) -> LandmarkFitResult:
    """Fit a model to 3D landmarks.

    Args:
        model: dense, or of landmarks only.
        targets: (N, 68, 3) in a right-handed frame, of any pose, scale and unit.
        noise_mm: standard deviation of the error of the targets in millimetres of the model. Larger values keep the
            fit closer to the mean face.
        iterations: number of Gauss-Newton steps.

    Raises:
        ValueError: the targets have another shape or are not finite.
    """
    targets = _checked(targets, 3)
    mean, basis, std = _bases(model, np.arange(N_LANDMARKS))
    prior = (noise_mm / model.mm_per_unit / std) ** 2
    coefficients = np.zeros((len(targets), len(std)))
    points = np.broadcast_to(mean, targets.shape)
    for _ in range(iterations):
        scale, rotation, translation = similarity(points, targets)
        in_model_space = (targets - translation[:, None]) @ rotation / scale[:, None, None]
        coefficients = _solve(points, basis, coefficients, prior, in_model_space - points, np.eye(3)[None])
        points = mean + np.einsum("kdc,nc->nkd", basis, coefficients)
    scale, rotation, translation = similarity(points, targets)
    fitted = scale[:, None, None] * points @ np.swapaxes(rotation, 1, 2) + translation[:, None]
    return _result(model, coefficients, scale, rotation, translation, fitted, targets)


def fit_landmarks_2d(
    model: MorphableModel, targets: Array, indices: NDArray[np.intp], noise_mm: float = 1.0, iterations: int = 12
) -> LandmarkFitResult:
    """Fit a model to 2D landmarks, seen by scaled orthographic cameras.

    Args:
        model: dense, or of landmarks only.
        targets: (N, K, 2), x right and y up, of any scale and unit.
        indices: (K,) iBUG indices of the targets.
        noise_mm: as in `fit_landmarks_3d`.
        iterations: number of Gauss-Newton steps.

    Raises:
        ValueError: the targets have another shape or are not finite.
    """
    targets = _checked(targets, 2)
    mean, basis, std = _bases(model, indices)
    prior = (noise_mm / model.mm_per_unit / std) ** 2
    coefficients = np.zeros((len(targets), len(std)))
    points = np.broadcast_to(mean, (*targets.shape[:2], 3))
    for _ in range(iterations):
        scale, rotation, translation = orthographic(points, targets)
        projected = np.einsum("nij,nkj->nki", rotation[:, :2], points)
        residual = (targets - translation[:, None]) / scale[:, None, None] - projected
        coefficients = _solve(points, basis, coefficients, prior, residual, rotation[:, :2])
        points = mean + np.einsum("kdc,nc->nkd", basis, coefficients)
    scale, rotation, translation = orthographic(points, targets)
    fitted = scale[:, None, None] * np.einsum("nij,nkj->nki", rotation[:, :2], points) + translation[:, None]
    return _result(model, coefficients, scale, rotation, translation, fitted, targets)


def _solve(
    points: Array, basis: Array, coefficients: Array, prior: Array, residual: Array, projection: Array
) -> Array:  # fmt: skip
    """Return the coefficients (N, C) after one Gauss-Newton step.

    Args:
        points: (N, K, 3) model points of the old coefficients.
        basis: (K, 3, C).
        coefficients: old ones (N, C).
        prior: (C,) weight of the square of each coefficient.
        residual: (N, K, D) target minus projected points, in model units.
        projection: (N or 1, D, 3) from model space to the D = 2 or 3 coordinates of the target.
    """
    n = len(points)
    columns = np.concatenate([np.broadcast_to(basis, (n, *basis.shape)), _pose_columns(points)], 3)
    projection = np.broadcast_to(projection, (n, *projection.shape[1:]))
    jacobian = np.einsum("nij,nkjc->nkic", projection, columns, optimize=True).reshape(n, -1, columns.shape[3])
    weight = np.concatenate([prior, np.full(7, 1e-9)])
    normal = np.swapaxes(jacobian, 1, 2) @ jacobian
    normal[:, np.arange(len(weight)), np.arange(len(weight))] += weight
    gradient = np.einsum("nrc,nr->nc", jacobian, residual.reshape(n, -1))
    gradient[:, : len(prior)] -= prior * coefficients
    return np.asarray(coefficients + np.linalg.solve(normal, gradient[..., None])[..., 0][:, : len(prior)])


def _checked(targets: Array, dimensions: int) -> Array:
    targets = np.asarray(targets, np.float64)
    if targets.ndim != 3 or targets.shape[2] != dimensions:
        raise ValueError(f"landmarks must be (N, K, {dimensions}), got {targets.shape}")
    if not np.isfinite(targets).all():
        raise ValueError("landmarks must be finite")
    return targets


def _result(
    model: MorphableModel, coefficients: Array, scale: Array, rotation: Array, translation: Array, points: Array,
    targets: Array,
) -> LandmarkFitResult:  # fmt: skip
    distance = np.linalg.norm(points - targets, axis=2).mean(1)
    box = np.ptp(targets[..., :2], axis=1)
    return LandmarkFitResult(
        shape=coefficients[:, : model.n_shape],
        expression=coefficients[:, model.n_shape :],
        scale=scale,
        rotation=rotation,
        translation=translation,
        points=points,
        residual=100 * distance / np.sqrt(box.prod(1)),
    )
