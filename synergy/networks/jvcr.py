"""JVCR, joint voxel and coordinate regression (Zhang et al. 2018, arXiv 1801.09242; IEEE TIP 2019).

Differences from the paper's code: the crop is 1.25 times the longer side of the landmarks' box, not 1.25 times its
width, so that profiles lie inside; the last depth plane is the nearest one (`synergy.voxels`); the coordinate network
starts from the mean face.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from bfm_assets import MorphableModel
from bfm_assets.schema import N_LANDMARKS
from synergy.models.jvcr import CoordinateNet, StackedHourglass
from synergy.models.landmark_net import LandmarkNet, LandmarkOutput
from synergy.voxels import DEPTHS, MARGIN, N_POINTS, append_centres


class Variant(NamedTuple):
    """Widths of a variant.

    Attributes:
        size: side of the input in pixels, 4 times the side of the volumes.
        hourglass: channels of the hourglasses.
        coordinates: channels of the coordinate network's first layer.
    """

    size: int
    hourglass: int
    coordinates: int


# "full" is the paper's. The others are for CPUs; "tiny" is for tests.
VARIANTS = {"full": Variant(256, 256, 64), "small": Variant(128, 64, 16), "tiny": Variant(64, 24, 8)}


class Network(LandmarkNet):
    """Predict score volumes by stacked hourglasses, and the coordinates of 71 points from the last volume.

    The points are the 68 landmarks and the centres of eyes and mouth. The volumes are those of the crop: plane, row and
    column of a voxel are z, y and x.

    Args:
        model: morphable model for head pose and mesh.
        variant: "full", "small" or "tiny".

    Attributes:
        resolution: side R of the volumes in voxels.
        depths: number of depth planes of each stack's volume; the last is R.
    """

    def __init__(self, model: MorphableModel, variant: str = "full") -> None:
        if variant not in VARIANTS:
            raise ValueError(f"unknown variant '{variant}', choose from {', '.join(VARIANTS)}")
        widths = VARIANTS[variant]
        super().__init__(model, widths.size, 3, MARGIN, architecture={"variant": variant})
        self.resolution = widths.size // 4
        self.depths = (*DEPTHS[:-1], self.resolution)
        self.hourglass = StackedHourglass(self.depths, widths.hourglass)
        self.coordinates = CoordinateNet(self.resolution, N_POINTS, widths.coordinates)
        start = self.to_unit(append_centres(self.mean_landmarks[None])[0])
        with torch.no_grad():
            self.coordinates.head.weight.mul_(0.1)
            self.coordinates.head.bias.copy_(start.flatten())

    def predict(self, images: Tensor) -> LandmarkOutput:
        """Predict crops (B, 3, size, size), float, RGB in about -1..1."""
        volumes = tuple(volume.float() for volume in self.hourglass(images))
        points = self.points_in(volumes[-1])
        return LandmarkOutput((points[:, :N_LANDMARKS],), volumes=volumes, points=points)

    def points_in(self, volume: Tensor) -> Tensor:
        """Return the points (B, 71, 3) in crop pixels that the coordinate network finds in volumes (B, R, R, R)."""
        unit = self.coordinates(volume).float()
        return unit * self.size - unit.new_tensor([0.5, 0.5, self.size / 2])

    def to_unit(self, points: Tensor) -> Tensor:
        """Convert points (..., 3) from crop pixels to 0..1 within the volume."""
        return (points + points.new_tensor([0.5, 0.5, self.size / 2])) / self.size
