"""PFLD (Guo et al. 2019, arXiv 1902.10859): features of three scales, and an auxiliary branch for the head pose."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bfm_assets import MorphableModel
from bfm_assets.schema import N_LANDMARKS
from synergy.models.landmark_net import LandmarkNet, LandmarkOutput
from synergy.models.mobilenet import InvertedResidual, conv_bn, scaled_channels


class Network(LandmarkNet):
    """Regress landmarks from the concatenated means of three feature maps.

    At 112 pixels the maps are 14x14, 7x7 and 1x1. The pose branch starts from the map of 28x28. It only weighs the
    loss: it runs in training mode and is not stored with the weights. The layers are those of the public implementation
    github.com/polarisZhao/PFLD-pytorch.

    Args:
        model: morphable model for head pose and mesh.
        width: width multiplier.
        size: side of the square input crop in pixels.
        dims: 2 or 3 coordinates per landmark.
    """

    def __init__(self, model: MorphableModel, width: float = 1.0, size: int = 112, dims: int = 3) -> None:
        super().__init__(model, size, dims, architecture={"width": width, "size": size, "dims": dims})
        n64, n128, n32, n16 = (scaled_channels(n * width) for n in (64, 128, 32, 16))
        shared = [*conv_bn(3, n64, 3, 2), nn.ReLU(inplace=True), *conv_bn(n64, n64, 3), nn.ReLU(inplace=True)]
        shared += [InvertedResidual(n64, n64, 2 if i == 0 else 1, 2) for i in range(5)]
        self.shared = nn.Sequential(*shared)
        first = [InvertedResidual(n64, n128, 2, 2)]
        first += [InvertedResidual(n128, n128, 1, 4) for _ in range(6)]
        self.first = nn.Sequential(*first, InvertedResidual(n128, n16, 1, 2))
        self.second = nn.Sequential(*conv_bn(n16, n32, 3, 2), nn.ReLU(inplace=True))
        side = -(-size // 16)  # of the map that was halved four times, rounded up
        self.third = nn.Sequential(nn.Conv2d(n32, n128, side), nn.ReLU(inplace=True))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(n16 + n32 + n128, N_LANDMARKS * dims)
        self.auxiliary = nn.Sequential(
            *conv_bn(n64, n128, 3, 2), nn.ReLU(inplace=True), *conv_bn(n128, n128, 3), nn.ReLU(inplace=True),
            *conv_bn(n128, n32, 3, 2), nn.ReLU(inplace=True), nn.Conv2d(n32, n128, side), nn.ReLU(inplace=True),
            nn.Flatten(), nn.Linear(n128, 32), nn.Linear(32, 3),
        )  # fmt: skip

    def predict(self, images: Tensor) -> LandmarkOutput:
        """Predict crops (B, 3, size, size), float, RGB in about -1..1."""
        shared = self.shared(images)
        first = self.first(shared)
        second = self.second(first)
        means = [self.pool(feature).flatten(1) for feature in (first, second, self.third(second))]
        output = self.head(torch.cat(means, -1)).float().unflatten(-1, (N_LANDMARKS, self.dims))
        angles = self.auxiliary(shared).float() if self.training else None
        return LandmarkOutput((self.mean_landmarks + output * (0.1 * self.size),), angles=angles)
