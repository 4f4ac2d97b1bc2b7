"""Euler angles of head poses near profile, where the rotation alone does not determine them.

Near 90 degrees of yaw, pitch and roll rotate the head about almost the same axis (gimbal lock). The rotation fixes
their difference (their sum at negative yaw). The rest depends on errors of one or two degrees in the rotation, so that
an almost perfect prediction can have a pitch of -70 and a roll of -70 degrees. Real heads do not have such angles.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from synergy.geometry import matrix_to_euler

# Median, and standard deviation (1.4826 times the median absolute deviation), of pitch and roll in degrees. Measured on
# the labels of 11,258 AFLW training photos with less than 45 degrees of yaw (docs/journal.md).
_MEAN_DEG = np.array([-6.7, -0.7])
_STD_DEG = np.array([9.8, 9.6])
# Standard deviation in degrees of a predicted rotation. Chosen on validation photos (docs/journal.md).
_NOISE_DEG = 0.6
# Below the first yaw the prior has no weight, above the second it has full weight, and in between it grows linearly.
# In degrees.
_RAMP_DEG = (45.0, 60.0)
# The minimisation ends when no angle changes by more than this in a step, in radians, or after this many steps.
_SMALLEST_STEP = 1e-7
_MAX_ITERATIONS = 12


def likely_angles(rotation: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the most likely angles of predicted rotations, given how people hold their heads.

    Below 45 degrees of yaw they are the exact angles (`synergy.geometry.matrix_to_euler`). Near profile they minimise

        angle(R(e), rotation)^2 / noise^2 + ((pitch - mean) / std)^2 + ((roll - mean) / std)^2,

    whose constants are those of this file. R(e) then differs from the rotation by less than a degree in most faces.

    Args:
        rotation: (N, 3, 3).

    Returns:
        Pitch, yaw and roll (N, 3) in radians. A yaw can exceed 90 degrees.

    Example:
        >>> from synergy.geometry import euler_to_matrix
        >>> profile = np.radians([-66.0, 88.0, -61.0])  # an improbable description of a head seen from the side
        >>> rotation = euler_to_matrix(torch.from_numpy(profile)).numpy()
        >>> np.degrees(likely_angles(rotation[None])[0]).round().tolist()
        [-10.0, 89.0, -5.0]
    """
    exact = matrix_to_euler(torch.from_numpy(rotation)).numpy()
    low, high = np.radians(_RAMP_DEG)
    strength = ((np.abs(exact[:, 1]) - low) / (high - low)).clip(0, 1)
    near = np.flatnonzero(strength)
    if not len(near):
        return exact
    # Two starts for each face, solved together: the exact angles, and those that the prior prefers.
    starts = np.concatenate([exact[near], _split_evenly(exact[near])])
    solved, cost = _minimise(starts, np.tile(rotation[near], (2, 1, 1)), np.tile(strength[near], 2))
    (first, second), (first_cost, second_cost) = np.split(solved, 2), np.split(cost, 2)
    exact[near] = np.where((first_cost <= second_cost)[:, None], first, second)
    return exact


def _split_evenly(angles: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return angles (N, 3) with the same pitch - roll (pitch + roll at negative yaw) near the prior's means."""
    sign = np.where(angles[:, 1] > 0, -1.0, 1.0)
    mean, variance = np.radians(_MEAN_DEG), np.radians(_STD_DEG) ** 2
    excess = angles[:, 0] + sign * angles[:, 2] - (mean[0] + sign * mean[1])
    excess = (excess + np.pi) % (2 * np.pi) - np.pi
    pitch = mean[0] + excess * variance[0] / variance.sum()
    roll = mean[1] + sign * excess * variance[1] / variance.sum()
    return np.stack([pitch, angles[:, 1], roll], 1)


def _minimise(
    angles: NDArray[np.float64], rotation: NDArray[np.float64], strength: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Minimise the cost of `likely_angles` by Levenberg-Marquardt; return angles (N, 3) and costs (N,)."""
    damping = np.full(len(angles), 1e-3)
    residual, jacobian = _residuals(angles, rotation, strength)
    cost = (residual**2).sum(1)
    for _ in range(_MAX_ITERATIONS):
        transposed = jacobian.transpose(0, 2, 1)
        normal, gradient = transposed @ jacobian, (transposed @ residual[..., None])[..., 0]
        scale = damping * np.trace(normal, axis1=1, axis2=2) / 3
        step = np.linalg.solve(normal + scale[:, None, None] * np.eye(3), gradient[..., None])[..., 0]
        trial = angles - step
        trial_residual, trial_jacobian = _residuals(trial, rotation, strength)
        trial_cost = (trial_residual**2).sum(1)
        better = trial_cost < cost
        angles = np.where(better[:, None], trial, angles)
        residual = np.where(better[:, None], trial_residual, residual)
        jacobian = np.where(better[:, None, None], trial_jacobian, jacobian)
        cost = np.where(better, trial_cost, cost)
        damping = np.where(better, damping / 5, damping * 5).clip(1e-9, 1e6)
        if np.abs(step).max() < _SMALLEST_STEP:
            break
    return angles, cost


def _residuals(
    angles: NDArray[np.float64], rotation: NDArray[np.float64], strength: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the residuals (N, 11) and their derivatives (N, 11, 3) with respect to the angles.

    The angle between two rotations is, for small angles, the Frobenius norm of their difference over sqrt(2).
    """
    matrix, derivative = _euler_with_derivatives(angles)
    noise = np.radians(_NOISE_DEG) * 2**0.5
    data = ((matrix - rotation) / noise).reshape(-1, 9)
    data_jacobian = (derivative / noise).reshape(-1, 3, 9).transpose(0, 2, 1)
    weight = np.sqrt(strength)[:, None] / np.radians(_STD_DEG)
    prior = (angles[:, [0, 2]] - np.radians(_MEAN_DEG)) * weight
    prior_jacobian = weight[:, :, None] * np.eye(3)[[0, 2]]
    return np.concatenate([data, prior], 1), np.concatenate([data_jacobian, prior_jacobian], 1)


def _euler_with_derivatives(angles: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the rotations (N, 3, 3) of angles (N, 3), and their derivatives (N, 3, 3, 3): angle, row, column."""
    (cx, cy, cz), (sx, sy, sz) = np.cos(angles).T, np.sin(angles).T
    one, zero = np.ones_like(cx), np.zeros_like(cx)

    def matrices(*entries: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.stack(entries, -1).reshape(-1, 3, 3)

    x = matrices(one, zero, zero, zero, cx, sx, zero, -sx, cx)
    y = matrices(cy, zero, -sy, zero, one, zero, sy, zero, cy)
    z = matrices(cz, sz, zero, -sz, cz, zero, zero, zero, one)
    dx = matrices(zero, zero, zero, zero, -sx, cx, zero, -cx, -sx)
    dy = matrices(-sy, zero, -cy, zero, zero, zero, cy, zero, -sy)
    dz = matrices(-sz, cz, zero, -cz, -sz, zero, zero, zero, zero)
    yz = y @ z
    return x @ yz, np.stack([dx @ yz, x @ dy @ z, x @ y @ dz], 1)
