"""Parameters of a morphable model for 3D landmarks whose rotation is known, by linear least squares."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from bfm_assets import MorphableModel
from synergy.geometry import compose_pose, flip_y
from synergy.parameters import join_parameters

Floats = NDArray[np.float32]


def fit_coefficients(
    model: MorphableModel, landmarks: Floats, rotation: Floats, side: int = 120, noise: float = 0.02
) -> Floats:
    """Fit a morphable model to 3D landmarks whose rotation is known.

    The rotation is kept, so that a label has the same head pose for every morphable model. Scale, translation, shape
    and expression are the regularised least squares solution. After the inverse rotation, V = s (mean + B c) + t is
    linear in s, s c and t, with the same matrix for every face. One small matrix therefore solves for all faces.

    Args:
        model: the model to fit.
        landmarks: (N, 68, 3) in crop pixels, y down.
        rotation: (N, 3, 3), convention of `synergy.geometry`.
        side: side of the crop in pixels.
        noise: standard deviation of a landmark coordinate about the model, in units of the mean face's size
            sqrt(width * height).

    Returns:
        Parameters (N, 12 + S + E) float32.
    """
    points = model.landmark_model()
    std = points.coefficient_std.astype(np.float64)
    basis = points.basis.reshape(-1, len(std)) * std
    mean = points.mean.astype(np.float64)
    extent = float(np.sqrt(np.ptp(mean[:, 0]) * np.ptp(mean[:, 1])))
    design = np.concatenate([mean.reshape(-1, 1), np.tile(np.eye(3), (len(mean), 1)), basis], 1)
    prior = np.concatenate([np.zeros(4), np.full(len(std), (noise * extent) ** 2)])
    solver = np.linalg.solve(design.T @ design + np.diag(prior), design.T)

    unrotated = flip_y(landmarks.astype(np.float64), side) @ rotation.astype(np.float64)
    solution = unrotated.reshape(len(landmarks), mean.size) @ solver.T
    scale, translation, scaled = solution[:, :1], solution[:, 1:4], solution[:, 4:]
    translation = np.einsum("nij,nj->ni", rotation, translation)
    pose = compose_pose(*(torch.from_numpy(part.astype(np.float64)) for part in (scale[:, 0], rotation, translation)))
    return join_parameters(pose.numpy(), scaled / scale * std).astype(np.float32)
