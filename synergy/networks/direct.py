"""A backbone and one linear layer: landmarks are regressed directly."""

from __future__ import annotations

from torch import Tensor, nn

from bfm_assets import MorphableModel
from bfm_assets.schema import N_LANDMARKS
from synergy.models.backbone import build_backbone
from synergy.models.landmark_net import LandmarkNet, LandmarkOutput


class Network(LandmarkNet):
    """Regress landmarks from the pooled features of a backbone.

    The linear layer predicts the difference to the landmarks of the mean face, in units of a tenth of the crop's side.

    Args:
        model: morphable model for head pose and mesh.
        backbone: a name of `synergy.models.backbone.build_backbone`.
        width: the backbone's width multiplier.
        size: side of the square input crop in pixels.
        dims: 2 or 3 coordinates per landmark.
        std: predict the standard deviation of each landmark too, for the loss "gaussian_nll".
    """

    def __init__(
        self,
        model: MorphableModel,
        backbone: str = "mobilenet_v1",
        width: float = 1.0,
        size: int = 120,
        dims: int = 3,
        std: bool = False,
    ) -> None:
        options = {"backbone": backbone, "width": width, "size": size, "dims": dims, "std": std}
        super().__init__(model, size, dims, architecture=options)
        self.backbone = build_backbone(backbone, width)
        self.head = nn.Linear(self.backbone.n_features, N_LANDMARKS * (dims + std))

    def predict(self, images: Tensor) -> LandmarkOutput:
        """Predict crops (B, 3, size, size), float, RGB in about -1..1."""
        output = self.head(self.backbone(images)).float().unflatten(-1, (N_LANDMARKS, -1))
        landmarks = self.mean_landmarks + output[..., : self.dims] * (0.1 * self.size)
        # An untrained head predicts about 2 % of the crop's side. The limit keeps the exponential finite.
        std = 0.02 * self.size * output[..., -1].clamp(-5, 5).exp() if output.shape[-1] > self.dims else None
        return LandmarkOutput((landmarks,), std)
