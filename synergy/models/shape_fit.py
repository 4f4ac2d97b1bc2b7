"""Update shape and position of a face so that its mesh follows the refined landmarks."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from bfm_assets import MorphableModel
from synergy.geometry import flip_y
from synergy.models.face_model import LinearFaceModel
from synergy.parameters import join_parameters, split_parameters

# Standard deviation of the distance between a landmark coordinate and the model, in units of the size
# sqrt(width * height) of the mean face. docs/journal.md says how it was chosen.
LANDMARK_NOISE = 0.02


class ShapeFit(nn.Module):
    """Regularised least squares of shape and translation, given the rotation, the scale and the expression.

    The landmarks are then linear in shape and translation. One matrix, which is computed in the constructor, therefore
    serves every face. docs/journal.md says how much the update gains, and why rotation, scale and expression are kept.

    Args:
        model: the morphable model of the parameters.
    """

    solver: Tensor
    shape_std: Tensor

    def __init__(self, model: MorphableModel) -> None:
        super().__init__()
        self.face_model = LinearFaceModel(model, landmarks_only=True)
        self.n_shape = model.n_shape
        mean = model.mean[model.landmarks].astype(np.float64)
        modes = model.shape_basis[model.landmarks].reshape(mean.size, -1) * model.shape_std.astype(np.float64)
        design = np.concatenate([np.tile(np.eye(3), (len(mean), 1)), modes], 1)
        prior = np.full(design.shape[1], LANDMARK_NOISE**2 * float(np.prod(np.ptp(mean[:, :2], 0))))
        prior[:3] = 0
        solver = np.linalg.solve(design.T @ design + np.diag(prior), design.T)
        self.register_buffer("solver", torch.from_numpy(solver).float(), persistent=False)
        self.register_buffer("shape_std", torch.from_numpy(model.shape_std), persistent=False)

    def forward(self, params: Tensor, landmarks: Tensor, size: float) -> Tensor:
        """Update parameters so that the mesh comes nearer to given landmarks.

        Args:
            params: (B, 12 + S + E) with a pose that is a rotation times a scale.
            landmarks: (B, 68, 3) in crop pixels, z with zero mean.
            size: side of the crop in pixels.

        Returns:
            Parameters (B, 12 + S + E) with the same rotation, scale and expression.
        """
        pose, shape, expression = split_parameters(params, self.n_shape)
        matrix = pose.unflatten(-1, (3, 4))
        linear, translation = matrix[..., :3], matrix[..., 3:]
        difference = flip_y(landmarks - self.face_model.project(params, size)) @ linear
        # `linear` is s R, so the product has two factors s more than a step in model space has.
        step = difference.flatten(-2) @ self.solver.mT / linear[..., 0, :].square().sum(-1, keepdim=True)
        translation = translation + linear @ step[..., :3, None]
        shape = shape + step[..., 3:] * self.shape_std
        return join_parameters(torch.cat([linear, translation], -1).flatten(-2), shape, expression)
