"""How far a network's predictions may be wrong, and whether the crop shows a face, predicted from the image feature."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from bfm_assets.schema import N_LANDMARKS

# Number of hidden units.
_HIDDEN = 128
# Order of `UncertaintyHeads.temperature`.
OUTPUTS = ("landmarks", "rotation", "face")

# Standard deviations that an untrained head predicts: of landmarks as a fraction of the crop's side, and of the
# rotation in radians. They are scales of the outputs, so that the outputs of the linear layer are of the order of 1.
_LANDMARK_SCALE = 0.02
_ROTATION_SCALE = 0.05
# Largest absolute logarithm of a standard deviation over its scale. It keeps the exponential finite.
_LIMIT = 5.0
# Rows: where the three entries below the diagonal lie in a flattened 3x3 matrix.
_BELOW_DIAGONAL = [[0.0, 0, 0, 1, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0, 1, 0, 0], [0, 0, 0, 0, 0, 0, 0, 1, 0]]


class Uncertainty(NamedTuple):
    """The uncertainty of the predictions for B crops.

    Attributes:
        landmark_std: (B, 68) standard deviation of x, and of y, of each refined landmark in crop pixels. The
            distribution of the error in the image plane is isotropic (`train.uncertainty`).
        rotation_covariance: (B, 3, 3) covariance of the rotation's error in radians squared. The error is the rotation
            vector w, in the camera's frame, with true rotation = exp(w) predicted rotation.
        face_logit: (B,) logit of the probability that the crop shows a face.
    """

    landmark_std: Tensor
    rotation_covariance: Tensor
    face_logit: Tensor


class UncertaintyHeads(nn.Module):
    """Predict the uncertainty of landmarks and rotation, and a face score, from the image feature.

    The landmarks have one standard deviation each, and not one for x and one for y. An isotropic Gaussian stays one
    when the crop is rotated or mirrored: only its scale changes.

    The feature is detached. The heads can therefore be trained without any effect on the other outputs. They have
    neither dropout nor batch normalisation, so they compute the same in training and in evaluation mode.

    Args:
        n_features: number of image features F.
        size: side of the crop in pixels.

    Attributes:
        temperature: (3,) factors in the order of `OUTPUTS`, fitted after the training of the heads
            (`train.uncertainty`). Standard deviations are multiplied by the first two. The logit is divided by the
            last.

    Example:
        >>> uncertainty = UncertaintyHeads(n_features=256, size=120)(torch.zeros(2, 256))
        >>> uncertainty.landmark_std.shape, uncertainty.rotation_covariance.shape, uncertainty.face_logit.shape
        (torch.Size([2, 68]), torch.Size([2, 3, 3]), torch.Size([2]))
    """

    temperature: Tensor

    def __init__(self, n_features: int, size: int) -> None:
        super().__init__()
        self.size = size
        self.hidden = nn.Sequential(nn.Linear(n_features, _HIDDEN), nn.ReLU())
        self.out = nn.Linear(_HIDDEN, N_LANDMARKS + 6 + 1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)
        self.register_buffer("temperature", torch.ones(len(OUTPUTS)))

    def forward(self, feature: Tensor) -> Uncertainty:
        """Predict the uncertainty for image features (B, F)."""
        landmarks, rotation, face = self.out(self.hidden(feature.detach())).split([N_LANDMARKS, 6, 1], -1)
        of_landmarks, of_rotation, of_face = self.temperature.unbind()
        std = _exponential(landmarks) * (_LANDMARK_SCALE * self.size * of_landmarks)
        factor = _cholesky_factor(rotation) * (_ROTATION_SCALE * of_rotation)
        return Uncertainty(std, factor @ factor.mT, face[..., 0] / of_face)


def _exponential(log_std: Tensor) -> Tensor:
    return log_std.clamp(-_LIMIT, _LIMIT).exp()


def _cholesky_factor(values: Tensor) -> Tensor:
    """Return lower triangular matrices (..., 3, 3), the product of a diagonal matrix and one with a unit diagonal.

    Args:
        values: (..., 6): three logarithms of the diagonal, three entries of the matrix with the unit diagonal.
    """
    # Larger entries would be correlations so close to 1 that the product would not be positive definite in float32.
    below = values[..., 3:].clamp(-3, 3) @ values.new_tensor(_BELOW_DIAGONAL)
    unit = below.unflatten(-1, (3, 3)) + torch.eye(3).to(values)
    return _exponential(values[..., :3])[..., None] * unit
