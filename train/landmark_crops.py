"""Landmark networks on stored crops, whose side, resolution and margin may differ from those of the networks."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from synergy.crop import LANDMARK_MARGIN
from synergy.models import SynergyOutput
from synergy.models.landmark_net import LandmarkNet, LandmarkOutput
from train.packs.pack import CROP_SIZE


def zoom_of(net: LandmarkNet) -> float:
    """Return how much larger a face is in the network's crop than in the stored crop, relative to their sides."""
    return LANDMARK_MARGIN / net.margin


def predict_stored(net: LandmarkNet, images: Tensor) -> SynergyOutput:
    """Predict stored crops.

    Args:
        net: the network.
        images: stored crops (B, 3, H, H), RGB in 0..255.

    Returns:
        Landmarks in pixels of the stored crops of 120 pixels. Parameters are those of the network's own crops.
    """
    zoom = zoom_of(net)
    output: SynergyOutput = net(zoomed(images.float(), zoom, net.size))
    landmarks = resize_points(output.landmarks, net.size, CROP_SIZE)
    centre = landmarks.new_tensor([(CROP_SIZE - 1) / 2, (CROP_SIZE - 1) / 2, 0.0])
    landmarks = (landmarks - centre) / zoom + centre
    return output._replace(landmarks=landmarks, coarse=landmarks)


def resize_points(points: Tensor, size: int, new_size: int) -> Tensor:
    """Convert points (..., 2 or 3) from pixels of a crop of `size` pixels to those of the same crop of `new_size`."""
    offset = points.new_tensor([0.5, 0.5, 0.0][: points.shape[-1]])
    return (points + offset) * (new_size / size) - offset


def in_crop_pixels(output: LandmarkOutput, size: int) -> LandmarkOutput:
    """Convert landmarks and standard deviations from pixels of a crop of `size` pixels to those of 120 pixels."""
    return output._replace(
        stages=tuple(resize_points(stage, size, CROP_SIZE) for stage in output.stages),
        std=None if output.std is None else output.std * (CROP_SIZE / size),
    )


def zoomed(images: Tensor, zoom: float, size: int) -> Tensor:
    """Enlarge images (B, 3, H, H) about their centre and resample them to (B, 3, size, size)."""
    if zoom == 1 and images.shape[-1] == size:
        return images
    theta = images.new_tensor([[1 / zoom, 0, 0], [0, 1 / zoom, 0]]).expand(len(images), 2, 3)
    grid = affine_grid(theta, [len(images), 3, size, size], align_corners=False)
    return grid_sample(images, grid, align_corners=False)
