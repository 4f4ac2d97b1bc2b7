"""What 3DDFA_V2 and SynergyNet have in common: a MobileNet that regresses 62 whitened parameters of a BFM face.

Both read BGR crops of 120 x 120, and both place their landmarks in MATLAB's 1-based pixels, `x = V_x`, `y = 121 - V_y`.
Here `x = V_x - 1` and `y = 120 - V_y` (synergy.geometry), which the translation's mean absorbs.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bfm_assets import MorphableModel
from synergy.camera import project_plain
from synergy.compat.whitening import N_PARAMS, Whitening
from synergy.models.mobilenet import Backbone
from synergy.models.synergynet import N_POSE, SynergyOutput

_N_SHAPE, _N_EXPRESSION = 40, 10
_TRANSLATION_X = 3


class CompatNet(nn.Module):
    """Crops to `SynergyOutput`, in this project's conventions, from a foreign network.

    The 3x3 part of the pose is used as the network gives it, a general affine map, as both projects do.

    Args:
        backbone: the feature extractor.
        model: a BFM with 3DDFA's modes: its first 40 shape and first 10 expression modes and 68 landmarks are used.
        whitening: of the 62 parameters.
        model_id: which weights these are.
        mafa: landmark refinement in 1-based pixels, or None for the coarse landmarks alone.

    Attributes:
        morphable_model: `model` with those 50 modes only: the one that the predicted parameters belong to.
    """

    mean: Tensor
    basis: Tensor
    param_mean: Tensor
    param_std: Tensor
    size = 120
    n_shape = _N_SHAPE
    n_expression = _N_EXPRESSION

    def __init__(
        self,
        backbone: Backbone,
        model: MorphableModel,
        whitening: Whitening,
        model_id: str,
        mafa: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.morphable_model = model.truncated(_N_SHAPE, _N_EXPRESSION)
        self.model_id = model_id
        self.backbone = backbone
        self.head = nn.Linear(backbone.n_features, N_PARAMS)
        self.mafa = mafa
        points = self.morphable_model.landmark_model()
        basis = torch.from_numpy(points.shape_basis), torch.from_numpy(points.expression_basis)
        self.register_buffer("mean", torch.from_numpy(points.mean).clone(), persistent=False)
        self.register_buffer("basis", torch.cat(basis, -1), persistent=False)
        param_mean = torch.from_numpy(whitening.mean).clone()
        param_mean[_TRANSLATION_X] -= 1
        self.register_buffer("param_mean", param_mean, persistent=False)
        self.register_buffer("param_std", torch.from_numpy(whitening.std).clone(), persistent=False)

    def forward(self, images: Tensor) -> SynergyOutput:
        """Crops (B, 3, 120, 120), RGB in 0..255 (uint8 or float), to landmarks and parameters."""
        bgr = images.to(self.param_mean.dtype).flip(1)
        feature = self.backbone((bgr - 127.5) / 128)
        whitened = self.head(feature)
        params = whitened * self.param_std + self.param_mean
        coarse = landmarks = self.project(params)
        if self.mafa is not None:
            one = coarse.new_tensor([1.0, 1.0, 0.0])
            landmarks = self.mafa(coarse + one, feature, whitened[:, N_POSE:]) - one
        return SynergyOutput(_centre_depth(landmarks), _centre_depth(coarse), params, whitened)

    def project(self, params: Tensor) -> Tensor:
        """The 68 points (B, 68, 3) of parameters (B, 62) in crop pixels, z as the translation places it."""
        vertices = self.mean + torch.einsum("vck,bk->bvc", self.basis, params[:, N_POSE:])
        return project_plain(vertices, params[:, :N_POSE], self.size)


def _centre_depth(points: Tensor) -> Tensor:
    return points - points.mean(1, keepdim=True) * points.new_tensor([0.0, 0.0, 1.0])
