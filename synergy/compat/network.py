"""The network that 3DDFA_V2 and SynergyNet share: a MobileNet that regresses 62 whitened parameters of a BFM face.

Both networks take BGR crops of 120x120 pixels. Both projects use MATLAB's pixel coordinates, which count from 1. The
mean of the whitening is converted to our coordinates (`to_zero_based`), so that the network returns them.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bfm_assets import MorphableModel
from synergy.camera import project_plain
from synergy.compat.whitening import N_EXPRESSION, N_PARAMS, N_SHAPE, to_zero_based
from synergy.crop import LANDMARK_MARGIN
from synergy.geometry import centre_depth
from synergy.models.backbone import Backbone
from synergy.models.face_model import LinearFaceModel
from synergy.models.synergynet import SynergyOutput
from synergy.parameters import Whitening, split_pose


class CompatNet(nn.Module):
    """Predict a `SynergyOutput` in this project's conventions with a public network of another project.

    The 3x3 part of the pose is used as the network gives it, a general affine map, as both projects do. Landmarks,
    parameters and mesh all follow from it.

    Args:
        backbone: the feature extractor.
        model: a BFM with 3DDFA's modes. Its first 40 shape and first 10 expression modes and 68 landmarks are used.
        whitening: mean and standard deviation of the 62 parameters.
        model_id: name of the weights.
        mafa: landmark refinement in MATLAB's coordinates. Without it the refined landmarks are the coarse landmarks.

    Attributes:
        morphable_model: `model` with those 50 modes only. The predicted parameters belong to it.
        face_model: the 68 landmark vertices of `morphable_model`.
    """

    param_mean: Tensor
    param_std: Tensor
    size = 120
    margin = LANDMARK_MARGIN

    def __init__(
        self,
        backbone: Backbone,
        model: MorphableModel,
        whitening: Whitening[NDArray[np.float32]],
        model_id: str,
        mafa: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.morphable_model = model.truncated(N_SHAPE, N_EXPRESSION)
        self.model_id = model_id
        self.backbone = backbone
        self.head = nn.Linear(backbone.n_features, N_PARAMS)
        self.mafa = mafa
        self.face_model = LinearFaceModel(self.morphable_model, landmarks_only=True)
        self.register_buffer("param_mean", torch.from_numpy(to_zero_based(whitening.mean)), persistent=False)
        self.register_buffer("param_std", torch.from_numpy(whitening.std).clone(), persistent=False)

    def forward(self, images: Tensor) -> SynergyOutput:
        """Predict landmarks and parameters of crops (B, 3, 120, 120), RGB in 0..255, uint8 or float."""
        bgr = images.to(self.param_mean.dtype).flip(1)
        feature = self.backbone((bgr - 127.5) / 128)
        whitened = self.head(feature)
        params = Whitening(self.param_mean, self.param_std).dewhiten(whitened)
        coarse = landmarks = self.project(params)
        if self.mafa is not None:
            one = coarse.new_tensor([1.0, 1.0, 0.0])
            landmarks = self.mafa(coarse + one, feature, split_pose(whitened)[1]) - one
        return SynergyOutput(centre_depth(landmarks), centre_depth(coarse), params, whitened)

    def project(self, params: Tensor) -> Tensor:
        """Return the 68 landmarks (B, 68, 3) in crop pixels of parameters (B, 62). The mean of z is not removed."""
        return project_plain(self.face_model.landmarks(params), split_pose(params)[0], self.size)

    def match_landmarks(self, params: Tensor, landmarks: Tensor) -> Tensor:  # noqa: ARG002
        """Return the parameters (B, 62) unchanged. In both projects the mesh does not depend on refined landmarks."""
        return params
