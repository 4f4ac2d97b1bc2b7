"""Parameters of a morphable model for 3D landmarks whose rotation is known, by linear least squares."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from bfm_assets import MorphableModel
from synergy.geometry import compose_pose, flip_y
from synergy.parameters import join_parameters
from train.blendshape_scores import MOST_FACES, fit_score_model

Floats = NDArray[np.float32]


def fit_coefficients(
    model: MorphableModel,
    landmarks: Floats,
    rotation: Floats,
    side: int = 120,
    noise: float = 0.02,
    scores: NDArray[np.floating] | None = None,
) -> Floats:
    """Fit a morphable model to 3D landmarks whose rotation is known, and to blendshape scores.

    The rotation is kept, so that a label has the same head pose for every morphable model. Scale, translation, shape
    and expression are the regularised least squares solution. After the inverse rotation, V = s (mean + B c) + t is
    linear in s, s c and t, with the same matrix for every face. One small matrix therefore solves for all faces.

    Scores are observations of the named expression modes. Their scale and noise are estimated from these faces
    (`train.blendshape_scores`). One more matrix then solves for all faces that have scores.

    Args:
        model: the model to fit.
        landmarks: (N, 68, 3) in crop pixels, y down.
        rotation: (N, 3, 3), convention of `synergy.geometry`.
        side: side of the crop in pixels.
        noise: standard deviation of a landmark coordinate about the model, in units of the mean face's size
            sqrt(width * height).
        scores: (N, 52) blendshape scores, NaN where unknown.

    Returns:
        Parameters (N, 12 + S + E) float32.
    """
    points = model.landmark_model()
    std = points.coefficient_std.astype(np.float64)
    basis = points.basis.reshape(-1, len(std)) * std
    mean = points.mean.astype(np.float64)
    variance = noise**2 * float(np.ptp(mean[:, 0]) * np.ptp(mean[:, 1]))
    design = np.concatenate([mean.reshape(-1, 1), np.tile(np.eye(3), (len(mean), 1)), basis], 1)
    prior = np.concatenate([np.zeros(4), np.full(len(std), variance)])
    information = design.T @ design + np.diag(prior)
    unrotated = flip_y(landmarks.astype(np.float64), side) @ rotation.astype(np.float64)
    projected = unrotated.reshape(len(landmarks), mean.size) @ design
    solution = np.linalg.solve(information, projected.T).T
    if scores is not None:
        known = np.isfinite(scores).all(1)
        observed = torch.from_numpy(scores[known].astype(np.float64))
        size, coefficients = solution[known, :1], torch.from_numpy(solution[known, 4:] / solution[known, :1])
        step = max(1, len(observed) // MOST_FACES)
        precision = torch.from_numpy(information / variance)[None]
        score_model = fit_score_model(model, precision, coefficients[::step], observed[::step])
        if score_model is not None:
            target, weight = (part.numpy() for part in score_model.observe(len(std), observed))
            information[4:, 4:] += np.diag(variance * weight[0])
            projected[known, 4:] += variance * weight * target * size
            solution[known] = np.linalg.solve(information, projected[known].T).T
    scale, translation, scaled = solution[:, :1], solution[:, 1:4], solution[:, 4:]
    translation = np.einsum("nij,nj->ni", rotation, translation)
    pose = compose_pose(*(torch.from_numpy(part.astype(np.float64)) for part in (scale[:, 0], rotation, translation)))
    return join_parameters(pose.numpy(), scaled / scale * std).astype(np.float32)
