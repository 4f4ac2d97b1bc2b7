"""Fit a morphable model's 68 landmarks to given landmarks, many faces at once.

Both fits minimise the squared distance to the given points plus a Gaussian prior on the coefficients,

    sum |s R (mean + B c) + t - x|^2 / (s * noise_mm)^2  +  sum (c / std)^2,

by Gauss-Newton steps: a linear solve for the coefficients together with a small change of the pose, then the best
similarity (3D) or scaled orthographic camera (2D) for the new shape.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bfm_assets.schema import N_LANDMARKS, MorphableModel

Array = NDArray[np.float64]


@dataclass(frozen=True)
class LandmarkFit:
    """What a fit of N faces found.

    Attributes:
        shape: (N, S) raw shape coefficients.
        expression: (N, E) raw expression coefficients.
        scale: (N,) target units per model unit.
        rotation: (N, 3, 3) from model space to the target's.
        translation: (N, 3), or (N, 2) of a fit to 2D points.
        points: (N, K, 3) or (N, K, 2) fitted points in the target's space.
        residual: (N,) mean distance to the target in per cent of the target's size (`face_size`).
    """

    shape: Array
    expression: Array
    scale: Array
    rotation: Array
    translation: Array
    points: Array
    residual: Array


def face_size(points: Array) -> Array:
    """The square root of width times height of the box around points (..., K, 2 or 3): (...)."""
    extent = points[..., :2].max(-2) - points[..., :2].min(-2)
    return np.asarray(np.sqrt(extent[..., 0] * extent[..., 1]))


def similarity(source: Array, target: Array) -> tuple[Array, Array, Array]:
    """Scale (N,), rotation (N, 3, 3) and translation (N, 3) that bring source (N, K, 3) closest to target."""
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
    """Scale (N,), rotation (N, 3, 3) and translation (N, 2) of the camera from source (N, K, 3) to target (N, K, 2)."""
    from_mean, to_mean = source.mean(1, keepdims=True), target.mean(1, keepdims=True)
    affine = np.swapaxes(np.linalg.pinv(source - from_mean) @ (target - to_mean), 1, 2)
    u, singular, vt = np.linalg.svd(affine, full_matrices=False)
    rows = u @ vt
    rotation = np.concatenate([rows, np.cross(rows[:, 0], rows[:, 1])[:, None]], 1)
    scale = singular.mean(1)
    translation = to_mean[:, 0] - scale[:, None] * np.einsum("nij,nj->ni", rows, from_mean[:, 0])
    return scale, rotation, translation


def _bases(model: MorphableModel, at: NDArray[np.intp]) -> tuple[Array, Array, Array]:
    """Mean (K, 3), joint basis (K, 3, S + E) and its standard deviations, of the chosen landmarks."""
    points = model.landmark_model()
    mean, basis, std = points.mean[at], points.basis[at], points.coefficient_std
    return mean.astype(np.float64), basis.astype(np.float64), std.astype(np.float64)


def _pose_columns(points: Array) -> Array:
    """How points (N, K, 3) move under a small rotation, growth and shift: (N, K, 3, 7)."""
    n, k, _ = points.shape
    columns = np.zeros((n, k, 3, 7))
    for axis in range(3):
        columns[..., axis] = np.cross(np.eye(3)[axis], points)
        columns[..., axis, 4 + axis] = 1
    columns[..., 3] = points
    return columns


def fit_landmarks_3d(model: MorphableModel, targets: Array, noise_mm: float = 1.0, iterations: int = 10) -> LandmarkFit:
    """Fit to 3D landmarks (N, 68, 3) in a right-handed frame with any pose and scale."""
    targets = _checked(targets, 3)
    mean, basis, std = _bases(model, np.arange(N_LANDMARKS))
    prior = (noise_mm / model.mm_per_unit / std) ** 2
    coefficients = np.zeros((len(targets), len(std)))
    points = np.broadcast_to(mean, targets.shape)
    for _ in range(iterations):
        scale, rotation, translation = similarity(points, targets)
        at_home = (targets - translation[:, None]) @ rotation / scale[:, None, None]
        coefficients = _solve(points, basis, coefficients, prior, at_home - points, np.eye(3)[None])
        points = mean + np.einsum("kdc,nc->nkd", basis, coefficients)
    scale, rotation, translation = similarity(points, targets)
    fitted = scale[:, None, None] * points @ np.swapaxes(rotation, 1, 2) + translation[:, None]
    return _result(model, coefficients, scale, rotation, translation, fitted, targets)


def fit_landmarks_2d(
    model: MorphableModel, targets: Array, which: NDArray[np.intp], noise_mm: float = 1.0, iterations: int = 12
) -> LandmarkFit:
    """Fit to 2D landmarks (N, K, 2), x right and y up, of the iBUG indices `which` (K,)."""
    targets = _checked(targets, 2)
    mean, basis, std = _bases(model, which)
    prior = (noise_mm / model.mm_per_unit / std) ** 2
    coefficients = np.zeros((len(targets), len(std)))
    points = np.broadcast_to(mean, (*targets.shape[:2], 3))
    for _ in range(iterations):
        scale, rotation, translation = orthographic(points, targets)
        seen = np.einsum("nij,nkj->nki", rotation[:, :2], points)
        missing = (targets - translation[:, None]) / scale[:, None, None] - seen
        coefficients = _solve(points, basis, coefficients, prior, missing, rotation[:, :2])
        points = mean + np.einsum("kdc,nc->nkd", basis, coefficients)
    scale, rotation, translation = orthographic(points, targets)
    fitted = scale[:, None, None] * np.einsum("nij,nkj->nki", rotation[:, :2], points) + translation[:, None]
    return _result(model, coefficients, scale, rotation, translation, fitted, targets)


def _solve(points: Array, basis: Array, old: Array, prior: Array, missing: Array, view: Array) -> Array:
    """One Gauss-Newton step of the coefficients (N, C), as seen by view (N or 1, 2 or 3, 3)."""
    n = len(points)
    columns = np.concatenate([np.broadcast_to(basis, (n, *basis.shape)), _pose_columns(points)], 3)
    seen = np.einsum("nij,nkjc->nkic", np.broadcast_to(view, (n, *view.shape[1:])), columns, optimize=True)
    seen = seen.reshape(n, -1, columns.shape[3])
    weight = np.concatenate([prior, np.full(7, 1e-9)])
    normal = np.swapaxes(seen, 1, 2) @ seen
    normal[:, np.arange(len(weight)), np.arange(len(weight))] += weight
    right = np.einsum("nrc,nr->nc", seen, missing.reshape(n, -1))
    right[:, : len(prior)] -= prior * old
    return np.asarray(old + np.linalg.solve(normal, right[..., None])[..., 0][:, : len(prior)])


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
) -> LandmarkFit:  # fmt: skip
    distance = np.linalg.norm(points - targets, axis=2).mean(1)
    return LandmarkFit(
        shape=coefficients[:, : model.n_shape],
        expression=coefficients[:, model.n_shape :],
        scale=scale,
        rotation=rotation,
        translation=translation,
        points=points,
        residual=100 * distance / face_size(targets),
    )
