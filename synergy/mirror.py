"""The mirrored face: what landmarks, pose and coefficients become when their crop is mirrored."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from bfm_assets import MorphableModel
from synergy.landmarks import FLIP68

_N_POSE = 12


def mirror_landmarks(landmarks: Tensor, side: int) -> Tensor:
    """Landmarks (B, 68, 3) in pixels of the mirrored crop, in the order of the mirrored face."""
    flipped = landmarks[:, torch.from_numpy(FLIP68).to(landmarks.device)]
    return torch.cat([side - 1 - flipped[..., :1], flipped[..., 1:]], -1)


def mirror_pose(pose: Tensor, side: int) -> Tensor:
    """Poses (B, 12) `[s R | t]` of the mirrored face in the mirrored crop: R becomes D R D, D = diag(-1, 1, 1)."""
    sign = torch.tensor([[1, -1, -1, -1], [-1, 1, 1, 1], [-1, 1, 1, 1]], dtype=pose.dtype, device=pose.device)
    shift = torch.zeros_like(sign)
    shift[0, 3] = side - 1
    return (pose.unflatten(-1, (3, 4)) * sign + shift).flatten(-2)


class MirrorCoefficients:
    """Coefficients of the mirrored face: an affine map, the regularised least squares solution over the 68 vertices.

    Exact for a model whose landmarks and bases are symmetric; `residual` is the root mean square distance, in units of
    the model, by which mirrored faces of its prior are missed.
    """

    def __init__(self, model: MorphableModel) -> None:
        points = model.landmark_model()
        basis = np.concatenate([points.shape_basis, points.expression_basis], -1).astype(np.float64)
        std = np.concatenate([points.shape_std, points.expression_std]).astype(np.float64)
        reflect = np.array([-1.0, 1.0, 1.0])
        mean_gap = (points.mean[FLIP68] * reflect - points.mean).ravel()
        target = np.concatenate([mean_gap[:, None], (basis[FLIP68] * reflect[:, None]).reshape(-1, len(std))], 1)
        scaled = basis.reshape(-1, len(std)) * std
        ridge = 1e-4 * np.trace(scaled.T @ scaled) / len(std) * np.eye(len(std))
        solution = std[:, None] * np.linalg.solve(scaled.T @ scaled + ridge, scaled.T @ target)
        missed = target - basis.reshape(-1, len(std)) @ solution
        missed = np.concatenate([missed[:, :1], missed[:, 1:] * std], 1).reshape(len(FLIP68), 3, -1)
        self.residual = float(np.sqrt((missed**2).sum((1, 2)).mean()))
        self._offset = torch.from_numpy(solution[:, 0]).float()
        self._matrix = torch.from_numpy(solution[:, 1:]).float()

    def __call__(self, params: Tensor) -> Tensor:
        """Parameters (B, 12 + S + E) with mirrored coefficients; the pose stays as it is."""
        coefficients = params[:, _N_POSE:] @ self._matrix.T.to(params) + self._offset.to(params)
        return torch.cat([params[:, :_N_POSE], coefficients], -1)
