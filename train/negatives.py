"""Crops without a face, or with a face of a wrong place or size, made from the face crops of a training batch.

They teach the face score (`synergy.models.uncertainty`). The packs hold face crops only, so every negative is made of
their pixels: surroundings of faces, parts of faces, faces of a wrong size, permuted tiles and blurred blobs. The
functions draw from torch's global random generator, which the training step seeds.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample, interpolate

from train.augment import AugmentConfig, photometric, uniform

# Distance of the face from the middle of the crop in `_shifted`, as a fraction of the crop's side. The box of a face is
# 0.71 of the side of its crop.
_FAR = (0.55, 1.0)
# Size of the face in `_part` and in `_small`, in units of the size that it has in a face crop.
_LARGE = (2.5, 6.0)
_SMALL = (0.1, 0.3)
# Number of permuted tiles, and of blobs, along a side; the last number is excluded.
_TILES = (3, 7)
_BLOBS = (2, 6)
# The negatives are changed more often than the faces, because a change cannot make a negative wrong.
_PHOTOMETRIC = AugmentConfig(colour=0.8, gray=0.1, gamma=0.3, blur=0.3, low_resolution=0.3, jpeg=0.1, noise=0.1)


def make_negatives(image: Tensor, count: int, size: int) -> Tensor:
    """Make crops without a face, or with a face in a wrong place or size.

    Args:
        image: face crops (B, 3, H, W) in 0..255, uint8 or float, as they are stored in a pack.
        count: number of negatives N.
        size: side of the negatives in pixels.

    Returns:
        (N, 3, size, size) float in 0..255.
    """
    image = image.float()
    makers = (_shifted, _part, _small, _tiles, _blobs)
    kind = torch.randint(len(makers), (count,), device=image.device)
    result = image.new_empty(count, 3, size, size)
    for number, maker in enumerate(makers):
        rows = (kind == number).nonzero()[:, 0]
        if len(rows):
            result[rows] = maker(_choose(image, len(rows)), _background(image, len(rows), size))
    return photometric(result, _PHOTOMETRIC).clamp(0, 255)


def _choose(image: Tensor, count: int) -> Tensor:
    """Return randomly chosen images, half of them mirrored."""
    chosen = image[torch.randint(len(image), (count,), device=image.device)]
    is_mirrored = torch.rand(count, 1, 1, 1, device=image.device) < 0.5
    return torch.where(is_mirrored, chosen.flip(-1), chosen)


def _background(image: Tensor, count: int, size: int) -> Tensor:
    """Return images (count, 3, size, size) of large soft spots in the colours of other images, or of a flat colour."""
    coarse = int(torch.randint(1, 9, (1,)))
    spots = interpolate(_choose(image, count), size=(coarse, coarse), mode="area")
    return interpolate(spots.flip(-2), size=(size, size), mode="bicubic" if coarse > 1 else "nearest")


def _place(image: Tensor, behind: Tensor, scale: Tensor, centre: Tensor) -> Tensor:
    """Place images, scaled and rotated, over other ones.

    Args:
        image: (N, 3, H, W).
        behind: (N, 3, size, size).
        scale: (N,) size of the placed image in units of `behind`.
        centre: (N, 2) x and y of the point of `behind` where the middle of the image is, in -1..1.

    Returns:
        (N, 3, size, size).
    """
    angle = uniform(len(image), -math.pi, math.pi, image)
    c, s = angle.cos() / scale, angle.sin() / scale
    linear = torch.stack([c, -s, s, c], -1).unflatten(-1, (2, 2))
    theta = torch.cat([linear, -(linear @ centre[..., None])], -1)
    grid = affine_grid(theta, list(behind.shape), align_corners=False)
    # A fourth channel of ones shows where the image is.
    placed = grid_sample(torch.cat([image, torch.ones_like(image[:, :1])], 1), grid, align_corners=False)
    return placed[:, :3] + (1 - placed[:, 3:]) * behind


def _shifted(image: Tensor, behind: Tensor) -> Tensor:
    """Return crops far off the face: what is next to a face, and a part of it."""
    direction = uniform(len(image), -math.pi, math.pi, image)
    distance = 2 * uniform(len(image), *_FAR, image)
    centre = torch.stack([direction.cos(), direction.sin()], -1) * distance[:, None]
    return _place(image, behind, uniform(len(image), 0.8, 1.6, image), centre)


def _part(image: Tensor, behind: Tensor) -> Tensor:
    """Return crops of a small part of a face: skin, hair, one eye."""
    scale = uniform(len(image), *_LARGE, image)
    centre = scale[:, None] * torch.empty(len(image), 2, device=image.device).uniform_(-0.7, 0.7)
    return _place(image, behind, scale, centre)


def _small(image: Tensor, behind: Tensor) -> Tensor:
    """Return crops that are far too large for their face."""
    centre = torch.empty(len(image), 2, device=image.device).uniform_(-0.8, 0.8)
    return _place(image, behind, uniform(len(image), *_SMALL, image), centre)


def _tiles(image: Tensor, behind: Tensor) -> Tensor:
    """Return images whose square tiles have changed places."""
    n_tiles = int(torch.randint(*_TILES, (1,)))
    side = n_tiles * (behind.shape[-1] // n_tiles)
    tiles = interpolate(image, size=(side, side), mode="bilinear")
    tiles = tiles.unflatten(-1, (n_tiles, -1)).unflatten(-3, (n_tiles, -1)).permute(0, 2, 4, 1, 3, 5).flatten(1, 2)
    order = torch.rand(tiles.shape[:2], device=image.device).argsort(1)
    tiles = tiles.gather(1, order[..., None, None, None].expand_as(tiles)).unflatten(1, (n_tiles, n_tiles))
    joined = tiles.permute(0, 3, 1, 4, 2, 5).flatten(2, 3).flatten(3, 4)
    return interpolate(joined, size=tuple(behind.shape[-2:]), mode="bilinear")


def _blobs(image: Tensor, behind: Tensor) -> Tensor:
    """Return a few blurred blobs, as background that is out of focus has."""
    n_blobs = int(torch.randint(*_BLOBS, (1,)))
    blobs = interpolate(_shifted(image, interpolate(behind, size=tuple(image.shape[-2:]))), size=n_blobs, mode="area")
    return interpolate(blobs, size=tuple(behind.shape[-2:]), mode="bicubic")
