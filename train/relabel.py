"""Labels of one morphable model from another's: 3D landmarks with their rotation, fitted linearly."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bfm_assets import MorphableModel

Floats = NDArray[np.float32]


def fit_coefficients(
    model: MorphableModel, landmarks: Floats, rotation: Floats, side: int = 120, noise: float = 0.02
) -> Floats:
    """Parameters (N, 12 + S + E) of `model` for landmarks (N, 68, 3) in crop pixels (y down) under rotations (N, 3, 3).

    The rotation stays, so that head poses keep the meaning they have in the labels. Scale, translation, shape and
    expression are the regularised least squares solution: turned back by the rotation, V = s (mean + B c) + t is linear
    in s, s c and t with the same matrix for every face, so one small inverse solves them all.

    Args:
        noise: standard deviation of a landmark coordinate about the model, in units of the mean face's extent.
    """
    points = model.landmark_model()
    std = np.concatenate([points.shape_std, points.expression_std]).astype(np.float64)
    basis = np.concatenate([points.shape_basis, points.expression_basis], -1).reshape(-1, len(std)) * std
    mean = points.mean.astype(np.float64)
    extent = float(np.sqrt(np.ptp(mean[:, 0]) * np.ptp(mean[:, 1])))
    design = np.concatenate([mean.reshape(-1, 1), np.tile(np.eye(3), (len(mean), 1)), basis], 1)
    prior = np.concatenate([np.zeros(4), np.full(len(std), (noise * extent) ** 2)])
    solver = np.linalg.solve(design.T @ design + np.diag(prior), design.T)

    y_up = landmarks.astype(np.float64) * [1, -1, 1] + [0, side, 0]
    turned_back = y_up @ rotation.astype(np.float64)
    solution = turned_back.reshape(len(landmarks), mean.size) @ solver.T
    scale, translation, scaled = solution[:, :1], solution[:, 1:4], solution[:, 4:]
    translation = np.einsum("nij,nj->ni", rotation, translation)
    pose = np.concatenate([scale[..., None] * rotation, translation[..., None]], -1).reshape(-1, 12)
    return np.concatenate([pose, scaled / scale * std], 1).astype(np.float32)
