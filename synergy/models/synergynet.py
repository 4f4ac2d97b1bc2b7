"""SynergyNet (Wu, Xu, Neumann 2021, arXiv 2110.09772): one image to 3DMM parameters and refined landmarks."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from bfm_assets import MorphableModel
from synergy.camera import project, project_plain
from synergy.geometry import compose_pose, decompose_pose
from synergy.models.mobilenet import build_backbone
from synergy.models.pointnet import MAFA, LandmarkTo3DMM

N_POSE = 12


class SynergyOutput(NamedTuple):
    """What `SynergyNet` returns for B crops; landmarks in crop pixels as in `synergy.geometry`.

    Attributes:
        landmarks: (B, 68, 3) refined by MAFA: the answer.
        coarse: (B, 68, 3) projected from the parameters.
        params: (B, 12 + S + E) pose `[s R | t]` in crop pixels, raw shape and expression coefficients.
        whitened: (B, 12 + S + E) the same, zero mean and unit variance over the training set.
    """

    landmarks: Tensor
    coarse: Tensor
    params: Tensor
    whitened: Tensor


class SynergyNet(nn.Module):
    """A MobileNet with three linear heads, the projected 68 vertices, and MAFA on top.

    `landmark_to_3dmm` is SynergyNet's second branch: training asks it for the parameters of the refined landmarks
    (the self-constraint); prediction never runs it.

    Args:
        model: morphable model whose landmark vertices are projected; kept for meshes as `morphable_model`.
        backbone: "mobilenet_v1" or "mobilenet_v2".
        width: the backbone's width multiplier.
        size: side of the square input crop in pixels.
    """

    mean: Tensor
    basis: Tensor
    param_mean: Tensor
    param_std: Tensor

    def __init__(
        self, model: MorphableModel, backbone: str = "mobilenet_v1", width: float = 1.0, size: int = 120
    ) -> None:
        super().__init__()
        self.architecture = {"backbone": backbone, "width": width, "size": size}
        self.size = size
        self.model_id = "untrained"
        self.morphable_model = model
        self.n_shape, self.n_expression = model.n_shape, model.n_expression
        n_params = N_POSE + model.n_shape + model.n_expression
        self.backbone = build_backbone(backbone, width)
        n_features = self.backbone.n_features
        self.pose_head = nn.Sequential(nn.Dropout(0.2), nn.Linear(n_features, N_POSE))
        self.shape_head = nn.Sequential(nn.Dropout(0.2), nn.Linear(n_features, model.n_shape))
        self.expression_head = nn.Sequential(nn.Dropout(0.2), nn.Linear(n_features, model.n_expression))
        self.mafa = MAFA(n_features, model.n_shape + model.n_expression)
        self.landmark_to_3dmm = LandmarkTo3DMM(n_params)

        points = model.landmark_model()
        basis = torch.from_numpy(points.shape_basis), torch.from_numpy(points.expression_basis)
        self.register_buffer("mean", torch.from_numpy(points.mean).clone(), persistent=False)
        self.register_buffer("basis", torch.cat(basis, -1), persistent=False)
        self.register_buffer("param_mean", torch.zeros(n_params))
        self.register_buffer("param_std", torch.ones(n_params))

    def set_whitening(self, mean: Tensor, std: Tensor) -> None:
        """Take the mean and standard deviation (12 + S + E) of the training set's parameters."""
        self.param_mean.copy_(mean)
        self.param_std.copy_(std)

    def forward(self, images: Tensor) -> SynergyOutput:
        """Crops (B, 3, size, size), RGB in 0..255 (uint8 or float), to landmarks and parameters."""
        feature = self.backbone((images.to(self.param_mean.dtype) - 127.5) / 128)
        # bfloat16 resolves half a pixel: under autocast only the backbone runs in it.
        with torch.autocast(images.device.type, enabled=False):
            feature = feature.to(self.param_mean.dtype)
            shape, expression = self.shape_head(feature), self.expression_head(feature)
            whitened = torch.cat([self.pose_head(feature), shape, expression], -1)
            params = self.dewhiten(whitened)
            coarse = self.project(params)
            landmarks = self.mafa(coarse, feature, whitened[:, N_POSE:])
        return SynergyOutput(landmarks, coarse, params, whitened)

    def dewhiten(self, whitened: Tensor) -> Tensor:
        """Parameters (..., 12 + S + E) of whitened ones."""
        return whitened * self.param_std + self.param_mean

    def project(self, params: Tensor) -> Tensor:
        """The coarse landmarks (B, 68, 3) in crop pixels of parameters (B, 12 + S + E).

        The pose is projected as the scaled rotation nearest to it, so that landmarks and reported angles agree;
        through pytorch3d in training where it is installed, in plain torch, the same to 1e-4 px, in prediction.
        """
        vertices = self.mean + torch.einsum("vck,bk->bvc", self.basis, params[:, N_POSE:])
        rigid = compose_pose(*decompose_pose(params[:, :N_POSE]))
        points = (project if self.training else project_plain)(vertices, rigid, self.size)
        return points - points.mean(1, keepdim=True) * points.new_tensor([0.0, 0.0, 1.0])
