"""SynergyNet (Wu, Xu, Neumann 2021, arXiv 2110.09772): 3DMM parameters and refined landmarks from one image.

The uncertainty heads are an addition of this project.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from bfm_assets import MorphableModel
from synergy.camera import Projection
from synergy.crop import LANDMARK_MARGIN
from synergy.geometry import centre_depth
from synergy.models.backbone import build_backbone
from synergy.models.face_model import LinearFaceModel
from synergy.models.pointnet import MAFA, LandmarkTo3DMM
from synergy.models.shape_fit import ShapeFit
from synergy.models.uncertainty import UncertaintyHeads
from synergy.parameters import N_POSE, Whitening, count_parameters, make_pose_rigid, split_pose


class SynergyOutput(NamedTuple):
    """The output of a network for B crops. Landmarks are in crop pixels (see `synergy.geometry`).

    Attributes:
        landmarks: (B, 68, 3) landmarks refined by MAFA. They are the network's prediction of the landmarks.
        coarse: (B, 68, 3) landmarks projected from `params`.
        params: (B, 12 + S + E) parameters (see `synergy.parameters`).
        whitened: (B, 12 + S + E) whitened parameters, the direct output of the heads.
        landmark_std, rotation_covariance, face_logit: the uncertainty (`synergy.models.uncertainty.Uncertainty`). None
            for a network without uncertainty heads.
    """

    landmarks: Tensor
    coarse: Tensor
    params: Tensor
    whitened: Tensor
    landmark_std: Tensor | None = None
    rotation_covariance: Tensor | None = None
    face_logit: Tensor | None = None


class SynergyNet(nn.Module):
    """Predict 3DMM parameters and 68 landmarks with a MobileNet, three linear heads and MAFA.

    `landmark_to_3dmm` is the second branch of SynergyNet. Training uses it to predict the parameters from the refined
    landmarks (the self-constraint). Prediction never runs it.

    Args:
        model: the morphable model of the predicted parameters.
        backbone: a name of `synergy.models.backbone.build_backbone`.
        width: the backbone's width multiplier.
        size: side of the square input crop in pixels.
        mafa_width: MAFA's width multiplier (see `MAFA`).
        uncertainty: whether the network has uncertainty heads (`synergy.models.uncertainty`).

    Attributes:
        morphable_model: `model`.
        face_model: the 68 landmark vertices of `model`.
        projection: how `coarse` is projected (see `synergy.camera.project`). Training and evaluation set it to
            `preferred_projection()`.
    """

    param_mean: Tensor
    param_std: Tensor
    projection: Projection = "plain"
    margin = LANDMARK_MARGIN

    def __init__(
        self,
        model: MorphableModel,
        backbone: str = "mobilenet_v1",
        width: float = 1.0,
        size: int = 120,
        mafa_width: float = 1.0,
        uncertainty: bool = False,
    ) -> None:
        super().__init__()
        self.architecture: dict[str, Any] = {
            "backbone": backbone,
            "width": width,
            "size": size,
            "mafa_width": mafa_width,
            "uncertainty": uncertainty,
        }
        self.size = size
        self.model_id = "untrained"
        self.morphable_model = model
        self.n_shape = model.n_shape
        n_params = count_parameters(model)
        self.backbone = build_backbone(backbone, width)
        n_features = self.backbone.n_features
        self.pose_head = nn.Linear(n_features, N_POSE)
        self.shape_head = nn.Linear(n_features, model.n_shape)
        self.expression_head = nn.Linear(n_features, model.n_expression)
        self.mafa = MAFA(n_features, model.n_shape + model.n_expression, mafa_width)
        self.uncertainty = UncertaintyHeads(n_features, size) if uncertainty else None
        self.landmark_to_3dmm = LandmarkTo3DMM(n_params)
        self.face_model = LinearFaceModel(model, landmarks_only=True)
        self.shape_fit = ShapeFit(model)
        self.register_buffer("param_mean", torch.zeros(n_params))
        self.register_buffer("param_std", torch.ones(n_params))

    @property
    def head_layers(self) -> tuple[nn.Linear, nn.Linear, nn.Linear]:
        """The linear layers of pose, shape and expression, in the order of the parameters."""
        return self.pose_head, self.shape_head, self.expression_head

    @property
    def whitening(self) -> Whitening[Tensor]:
        """The whitening of the parameters that the network was trained with."""
        return Whitening(self.param_mean, self.param_std)

    def set_whitening(self, mean: Tensor, std: Tensor) -> None:
        """Store the mean and standard deviation (12 + S + E,) of the training set's parameters."""
        self.param_mean.copy_(mean)
        self.param_std.copy_(std)

    def forward(self, images: Tensor) -> SynergyOutput:
        """Predict landmarks and parameters.

        Under `torch.autocast` the backbone and MAFA run in the lower precision. The heads and the projection stay in
        float32, because bfloat16 resolves only half a pixel.

        Args:
            images: crops (B, 3, size, size), RGB in 0..255, uint8 or float.

        Returns:
            Landmarks and parameters of the B crops.

        Example:
            >>> from bfm_assets import open_face
            >>> net = SynergyNet(open_face(), width=0.25).eval()
            >>> net(torch.zeros(2, 3, 120, 120)).landmarks.shape
            torch.Size([2, 68, 3])
        """
        feature = self.features(images)
        with torch.autocast(images.device.type, enabled=False):
            whitened = self.heads(feature)
            params = make_pose_rigid(self.dewhiten(whitened))
            coarse = self.project(params)
            uncertainty = () if self.uncertainty is None else self.uncertainty(feature)
        landmarks = centre_depth(self.mafa(coarse, feature, split_pose(whitened)[1]))
        return SynergyOutput(landmarks, coarse, params, whitened, *uncertainty)

    @torch.no_grad()
    def set_heads(self, weight: Tensor, bias: Tensor) -> None:
        """Set the three heads to one linear layer from features to whitened parameters.

        Args:
            weight: (12 + S + E, F).
            bias: (12 + S + E,).
        """
        sizes = [head.out_features for head in self.head_layers]
        for head, own_weight, own_bias in zip(self.head_layers, weight.split(sizes), bias.split(sizes), strict=True):
            head.weight.copy_(own_weight)
            head.bias.copy_(own_bias)

    def features(self, images: Tensor) -> Tensor:
        """Return the backbone's features (B, F) of crops (B, 3, size, size)."""
        feature: Tensor = self.backbone((images.to(self.param_mean.dtype) - 127.5) / 128)
        return feature.to(self.param_mean.dtype)

    def heads(self, feature: Tensor) -> Tensor:
        """Return whitened parameters (B, 12 + S + E) of features (B, F)."""
        return torch.cat([head(feature) for head in self.head_layers], -1)

    def dewhiten(self, whitened: Tensor) -> Tensor:
        """Return the parameters (..., 12 + S + E) of whitened parameters."""
        return self.whitening.dewhiten(whitened)

    def project(self, params: Tensor) -> Tensor:
        """Return the coarse landmarks (..., 68, 3) in crop pixels of parameters (..., 12 + S + E)."""
        return self.face_model.project(params, self.size, self.projection)

    def match_landmarks(self, params: Tensor, landmarks: Tensor) -> Tensor:
        """Update parameters so that the mesh follows the refined landmarks.

        Args:
            params: (B, 12 + S + E) with a rigid pose, for example `SynergyOutput.params`.
            landmarks: (B, 68, 3) in crop pixels, for example `SynergyOutput.landmarks`.

        Returns:
            Parameters (B, 12 + S + E) with the same rotation, scale and expression.
        """
        updated: Tensor = self.shape_fit(params, landmarks, self.size)
        return updated
