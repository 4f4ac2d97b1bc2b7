"""Landmarks, pose and coefficients of a face in the mirrored crop."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from bfm_assets import MorphableModel
from synergy.geometry import transform_pose
from synergy.landmarks import FLIP68
from synergy.parameters import join_parameters, split_pose


def mirror_landmarks(landmarks: Tensor, side: int) -> Tensor:
    """Mirror landmarks.

    Args:
        landmarks: (B, 68, 3) in crop pixels.
        side: side of the crop in pixels.

    Returns:
        (B, 68, 3) in pixels of the mirrored crop, in iBUG order for the mirrored face.

    Example:
        >>> landmarks = torch.zeros(1, 68, 3)
        >>> landmarks[0, 36, 0] = 20.0  # outer corner of the right eye
        >>> float(mirror_landmarks(landmarks, side=120)[0, 45, 0])  # outer corner of the left eye
        99.0
    """
    flipped = landmarks[:, torch.from_numpy(FLIP68).to(landmarks.device)]
    return torch.cat([side - 1 - flipped[..., :1], flipped[..., 1:]], -1)


def mirror_pose(pose: Tensor, side: int) -> Tensor:
    """Mirror poses: R becomes D R D with D = diag(-1, 1, 1).

    Args:
        pose: (B, 12) in a crop.
        side: side of the crop in pixels.

    Returns:
        Poses (B, 12) in the mirrored crop.
    """
    return transform_pose(
        pose, pose.new_tensor([[-1.0, 0.0, side - 1.0], [0.0, 1.0, 0.0]]).expand(len(pose), 2, 3), side
    )


def mirror_rotation_covariance(covariance: Tensor) -> Tensor:
    """Mirror covariances (B, 3, 3) of rotation vectors. A mirrored rotation vector (x, y, z) is (x, -y, -z)."""
    sign = covariance.new_tensor([1.0, -1.0, -1.0])
    return covariance * sign[:, None] * sign


class MirrorCoefficients:
    """Affine map from the coefficients of a face to those of the mirrored face.

    It is the regularised least squares solution over the 68 landmark vertices. It is exact for a morphable model whose
    landmarks and bases are symmetric.

    Args:
        model: the morphable model of the coefficients.
    """

    def __init__(self, model: MorphableModel) -> None:
        points = model.landmark_model()
        basis, std = points.basis.astype(np.float64), points.coefficient_std.astype(np.float64)
        reflect = np.array([-1.0, 1.0, 1.0])
        mean_difference = (points.mean[FLIP68] * reflect - points.mean).ravel()
        target = np.concatenate([mean_difference[:, None], (basis[FLIP68] * reflect[:, None]).reshape(-1, len(std))], 1)
        scaled = basis.reshape(-1, len(std)) * std
        ridge = 1e-4 * np.trace(scaled.T @ scaled) / len(std) * np.eye(len(std))
        solution = std[:, None] * np.linalg.solve(scaled.T @ scaled + ridge, scaled.T @ target)
        self._offset = torch.from_numpy(solution[:, 0]).float()
        self._matrix = torch.from_numpy(solution[:, 1:]).float()

    def __call__(self, params: Tensor) -> Tensor:
        """Mirror the coefficients of parameters (B, 12 + S + E). The pose stays the same."""
        pose, coefficients = split_pose(params)
        return join_parameters(pose, coefficients @ self._matrix.T.to(params) + self._offset.to(params))

    def mirror(self, params: Tensor, side: int) -> Tensor:
        """Mirror parameters (B, 12 + S + E), including the pose, of a crop of `side` pixels."""
        pose, coefficients = split_pose(self(params))
        return join_parameters(mirror_pose(pose, side), coefficients)
