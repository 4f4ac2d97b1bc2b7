"""Fit a morphable model to landmarks, for networks that predict landmarks and no parameters."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from bfm_assets import MorphableModel
from synergy.geometry import centre_depth, compose_pose, decompose_pose, flip_y
from synergy.models.shape_fit import LANDMARK_NOISE
from synergy.parameters import join_parameters

_ITERATIONS = 4


class LandmarkFit(nn.Module):
    """Parameters of the morphable model that is nearest to landmarks, and the depth of landmarks without one.

    The first rotation is that of the affine map that brings the mean face nearest to the landmarks. Each iteration is
    then a Gauss-Newton step of rotation, scale, translation, shape and expression, linearised at the mean face. In the
    frame of the current rotation its matrix is the same for every face, and is computed once, in the constructor.

    Args:
        model: the morphable model.
    """

    mean: Tensor
    affine_solver: Tensor
    solver: Tensor
    coefficient_std: Tensor

    def __init__(self, model: MorphableModel) -> None:
        super().__init__()
        points = model.landmark_model()
        mean = points.mean.astype(np.float64)
        std = points.coefficient_std.astype(np.float64)
        modes = points.basis.reshape(mean.size, -1) * std
        rotations = np.stack([np.cross(axis, mean).ravel() for axis in np.eye(3)], -1)
        shifts = np.tile(np.eye(3), (len(mean), 1))
        design = np.concatenate([mean.reshape(-1, 1), shifts, rotations, modes], 1)
        prior = np.zeros(design.shape[1])
        prior[7:] = LANDMARK_NOISE**2 * float(np.prod(np.ptp(mean[:, :2], 0)))
        solver = np.linalg.solve(design.T @ design + np.diag(prior), design.T)
        affine_solver = np.linalg.pinv(np.concatenate([mean, np.ones_like(mean[:, :1])], 1))
        buffers = {"mean": mean, "affine_solver": affine_solver, "solver": solver, "coefficient_std": std}
        for name, array in buffers.items():
            self.register_buffer(name, torch.from_numpy(array).float(), persistent=False)

    def forward(self, landmarks: Tensor, size: float) -> Tensor:
        """Return parameters whose landmarks are nearest to given landmarks.

        Args:
            landmarks: (B, 68, 3) in crop pixels.
            size: side of the crop in pixels.

        Returns:
            Parameters (B, 12 + S + E) with a pose that is a rotation times a scale.
        """
        points = flip_y(landmarks, size)
        rotation = self._affine_rotation(points)
        for step in range(_ITERATIONS):
            solution = (points @ rotation).flatten(-2) @ self.solver.mT
            scale = solution[..., 0].clamp_min(1e-6)
            if step < _ITERATIONS - 1:
                rotation = rotation @ _small_rotation(solution[..., 4:7] / scale[..., None])
        translation = (rotation @ solution[..., 1:4, None])[..., 0]
        coefficients = solution[..., 7:] / scale[..., None] * self.coefficient_std
        return join_parameters(compose_pose(scale, rotation, translation), coefficients)

    def add_depth(self, landmarks: Tensor, size: float) -> Tensor:
        """Return 2D landmarks with the depth of the mean face under the pose that fits them.

        Args:
            landmarks: (B, 68, 2) in crop pixels.
            size: side of the crop in pixels.

        Returns:
            (B, 68, 3). z has zero mean.
        """
        pose = self._affine_pose(flip_y(landmarks, size))
        scale, rotation, _ = decompose_pose(pose)
        depth = scale[:, None] * (self.mean @ rotation[:, 2, :, None])[..., 0]
        return centre_depth(torch.cat([landmarks, depth[..., None]], -1))

    def _affine_pose(self, points: Tensor) -> Tensor:
        """Return the affine pose (B, 12) of points (B, 68, 2 or 3), y up. The third row of 2D points is zero."""
        rows = (self.affine_solver @ points).mT
        return nn.functional.pad(rows, (0, 0, 0, 3 - rows.shape[-2])).flatten(-2)

    def _affine_rotation(self, points: Tensor) -> Tensor:
        return decompose_pose(self._affine_pose(points))[1]


def _small_rotation(vector: Tensor) -> Tensor:
    """Return the rotations (..., 3, 3) of rotation vectors (..., 3), by Rodrigues' formula."""
    x, y, z = vector.unbind(-1)
    zero = torch.zeros_like(x)
    skew = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).unflatten(-1, (3, 3))
    angle = vector.norm(dim=-1)[..., None, None].clamp_min(1e-6)
    eye = torch.eye(3, device=vector.device, dtype=vector.dtype)
    return eye + angle.sin() / angle * skew + (1 - angle.cos()) / angle**2 * (skew @ skew)
