"""The two point networks of SynergyNet: landmark refinement (MAFA) and landmark-to-3DMM.

Wu, Xu, Neumann 2021 (arXiv 2110.09772), sections 3.2 and 3.3. Both networks encode the landmarks with the same
PointNet-style encoder. Their output layers are linear, as in the paper. In the released code both end in BatchNorm and
ReLU, which excludes negative residuals and negative whitened parameters.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bfm_assets.schema import N_LANDMARKS

N_POINT_FEATURES = 64
N_GLOBAL_FEATURES = 1024
RESIDUAL_SCALE = 0.05


class PointNorm(nn.Sequential):
    """BatchNorm of the features (B, N, n) of points over batch and points, then ReLU.

    Args:
        n_features: number of features n of a point.
        before: layers that come first.
    """

    def __init__(self, n_features: int, *before: nn.Module) -> None:
        super().__init__(*before, nn.Flatten(0, 1), nn.BatchNorm1d(n_features), nn.ReLU())

    def forward(self, points: Tensor) -> Tensor:
        """Map (B, N, n) to the same shape; with layers before, (B, N, n_in) to (B, N, n)."""
        features: Tensor = super().forward(points)
        return features.unflatten(0, points.shape[:2])


class PointLayer(PointNorm):
    """One linear layer applied to every point, then BatchNorm over batch and points, then ReLU.

    Args:
        n_in: features of a point before the layer.
        n_out: features of a point after the layer.
    """

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__(n_out, nn.Linear(n_in, n_out))


class PointEncoder(nn.Module):
    """PointNet-style encoder of landmarks.

    Args:
        n_global: number of global features G.
    """

    def __init__(self, n_global: int = N_GLOBAL_FEATURES) -> None:
        super().__init__()
        self.point = nn.Sequential(PointLayer(3, 64), PointLayer(64, N_POINT_FEATURES))
        self.deep = nn.Sequential(PointLayer(N_POINT_FEATURES, 64), PointLayer(64, 128), PointLayer(128, n_global))

    def forward(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Encode landmarks.

        Args:
            points: (B, N, 3).

        Returns:
            Point features (B, N, 64), and the global feature (B, G), a maximum over the points.
        """
        point_features = self.point(points)
        return point_features, self.deep(point_features).amax(1)


class MAFA(nn.Module):
    """Multi-attribute feature aggregation: predict a residual for each coarse landmark.

    The input of each point is the concatenation of its point features, the global feature, the image feature, and the
    shape and expression coefficients. All but the first 64 features are the same at every point. The first layer is
    therefore split in two, and the part of the shared features is computed once per face.

    Unlike in the paper, the first layer has a bias of its own for each landmark. Coordinates alone do not say exactly
    which landmark a point is, so that the paper's network misses even a constant difference between landmarks of the
    mesh and of the labels (docs/journal.md, "MAFA did not know which landmark a point is").

    Args:
        n_image: number of image features F.
        n_coefficients: number of shape and expression coefficients S + E.
        width: factor of the number of global features and of hidden features. The paper's network has width 1.

    Attributes:
        n_global: number of global features.
    """

    def __init__(self, n_image: int, n_coefficients: int, width: float = 1.0) -> None:
        super().__init__()
        self.n_global, *hidden = (int(n * width) for n in (N_GLOBAL_FEATURES, 512, 256, 128))
        self.encoder = PointEncoder(self.n_global)
        self.from_point = nn.Linear(N_POINT_FEATURES, hidden[0], bias=False)
        self.from_face = nn.Linear(self.n_global + n_image + n_coefficients, hidden[0])
        self.of_landmark = nn.Parameter(torch.zeros(N_LANDMARKS, hidden[0]))
        self.first = PointNorm(hidden[0])
        self.rest = nn.Sequential(
            PointLayer(hidden[0], hidden[1]), PointLayer(hidden[1], hidden[2]), nn.Linear(hidden[2], 3)
        )

    def forward(self, points: Tensor, image_feature: Tensor, coefficients: Tensor) -> Tensor:
        """Refine landmarks.

        Args:
            points: coarse landmarks (B, 68, 3) in crop pixels.
            image_feature: (B, F) of the backbone.
            coefficients: whitened shape and expression coefficients (B, S + E).

        Returns:
            Refined landmarks (B, 68, 3) in crop pixels.
        """
        point_features, global_feature = self.encoder(points)
        face = self.from_face(torch.cat([global_feature, image_feature, coefficients], -1))
        features = self.from_point(point_features) + self.of_landmark + face.unsqueeze(1)
        residual: Tensor = self.rest(self.first(features))
        return points + RESIDUAL_SCALE * residual


class LandmarkTo3DMM(nn.Module):
    """Predict whitened parameters from landmarks.

    Args:
        n_params: number of parameters 12 + S + E.
    """

    def __init__(self, n_params: int) -> None:
        super().__init__()
        self.encoder = PointEncoder()
        self.head = nn.Linear(N_GLOBAL_FEATURES, n_params)

    def forward(self, points: Tensor) -> Tensor:
        """Map landmarks (B, N, 3) in crop pixels to whitened parameters (B, 12 + S + E)."""
        params: Tensor = self.head(self.encoder(points)[1])
        return params
