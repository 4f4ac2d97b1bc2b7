"""JVCR's 3D convolutional network from a compact volume to the coordinates of all points (Zhang et al. 2018)."""

from __future__ import annotations

import math
from itertools import pairwise

from torch import Tensor, nn


class CoordinateNet(nn.Module):
    """Regress coordinates from a cubic volume.

    3D convolutions with kernel 4 and stride 2 double their channels and halve the volume, down to 4x4x4 voxels. One
    more convolution with kernel 4 leaves one vector of 4 times the first channels.

    Args:
        resolution: side of the volume in voxels, a power of 2 of at least 8.
        n_points: number of points.
        channels: output channels of the first convolution, 64 in the paper.
    """

    def __init__(self, resolution: int = 64, n_points: int = 71, channels: int = 64) -> None:
        super().__init__()
        n_layers = int(math.log2(resolution)) - 2
        widths = [1, *(channels * 2**i for i in range(n_layers))]
        layers: list[nn.Module] = []
        for n_in, n_out in pairwise(widths):
            layers += [nn.Conv3d(n_in, n_out, 4, stride=2, padding=1), nn.BatchNorm3d(n_out), nn.LeakyReLU(0.2)]
        layers += [nn.Conv3d(widths[-1], 4 * channels, 4), nn.Flatten(), nn.Linear(4 * channels, 3 * n_points)]
        self.layers = nn.Sequential(*layers)
        self.n_points = n_points

    @property
    def head(self) -> nn.Linear:
        """The last layer."""
        head = self.layers[-1]
        assert isinstance(head, nn.Linear)
        return head

    def forward(self, volume: Tensor) -> Tensor:
        """Map volumes (B, R, R, R) to x, y, z (B, n_points, 3), in 0..1 within the volume."""
        coordinates: Tensor = self.layers(volume[:, None])
        return coordinates.unflatten(-1, (self.n_points, 3))
