"""The two point networks of SynergyNet: landmark refinement (MAFA) and landmark-to-3DMM.

Wu, Xu, Neumann 2021 (arXiv 2110.09772), sections 3.2 and 3.3. Both read landmarks through the same PointNet-style
encoder of per-point linear layers. Output layers are linear, as the paper means them: the released code ends both
networks in BatchNorm and ReLU, so that neither a residual nor a whitened parameter could be negative there.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

N_POINT_FEATURES = 64
N_GLOBAL_FEATURES = 1024
RESIDUAL_SCALE = 0.05


class PointLayer(nn.Sequential):
    """Points (B, N, n_in) to (B, N, n_out): one linear map at every point, BatchNorm over batch and points, ReLU."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__(nn.Linear(n_in, n_out), nn.Flatten(0, 1), nn.BatchNorm1d(n_out), nn.ReLU())

    def forward(self, points: Tensor) -> Tensor:
        features: Tensor = super().forward(points)
        return features.unflatten(0, points.shape[:2])


class PointEncoder(nn.Module):
    """Landmarks (B, N, 3) to point features (B, N, 64) and a global feature (B, 1024), the maximum over points."""

    def __init__(self) -> None:
        super().__init__()
        self.point = nn.Sequential(PointLayer(3, 64), PointLayer(64, N_POINT_FEATURES))
        self.deep = nn.Sequential(
            PointLayer(N_POINT_FEATURES, 64), PointLayer(64, 128), PointLayer(128, N_GLOBAL_FEATURES)
        )

    def forward(self, points: Tensor) -> tuple[Tensor, Tensor]:
        point = self.point(points)
        return point, self.deep(point).amax(1)


class MAFA(nn.Module):
    """Multi-attribute feature aggregation: a residual for each coarse landmark.

    Point features, the global feature, the image feature and the shape and expression coefficients, 2418 numbers a
    point in SynergyNet, go through 512-256-128-3. All but the first 64 are the same at every point, so their share of
    the first layer is computed once a face: the sum is the concatenation's, at a quarter of its cost.
    """

    def __init__(self, n_image: int, n_coefficients: int) -> None:
        super().__init__()
        self.encoder = PointEncoder()
        self.from_point = nn.Linear(N_POINT_FEATURES, 512, bias=False)
        self.from_face = nn.Linear(N_GLOBAL_FEATURES + n_image + n_coefficients, 512)
        self.first = nn.Sequential(nn.Flatten(0, 1), nn.BatchNorm1d(512), nn.ReLU())
        self.rest = nn.Sequential(PointLayer(512, 256), PointLayer(256, 128), nn.Linear(128, 3))

    def forward(self, points: Tensor, image_feature: Tensor, coefficients: Tensor) -> Tensor:
        """Refined landmarks (B, N, 3) of coarse ones, image features (B, F) and whitened coefficients (B, S + E)."""
        point, whole = self.encoder(points)
        face = self.from_face(torch.cat([whole, image_feature, coefficients], -1))
        features = self.from_point(point) + face.unsqueeze(1)
        residual: Tensor = self.rest(self.first(features).unflatten(0, features.shape[:2]))
        return points + RESIDUAL_SCALE * residual


class LandmarkTo3DMM(nn.Module):
    """Landmarks (B, N, 3) to whitened parameters (B, 12 + S + E)."""

    def __init__(self, n_params: int) -> None:
        super().__init__()
        self.encoder = PointEncoder()
        self.head = nn.Linear(N_GLOBAL_FEATURES, n_params)

    def forward(self, points: Tensor) -> Tensor:
        params: Tensor = self.head(self.encoder(points)[1])
        return params
