"""Face crops as affine maps with an exact inverse.

A crop is a 2x3 matrix from image pixels to crop pixels, both with centres at integers; it scales uniformly and does
not rotate. `(...)` is any leading shape. `affine_scale` and `transform_points` also take torch tensors and maps that
rotate or mirror.
"""

from __future__ import annotations

from typing import Any, cast

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from synergy.geometry import A

Array = NDArray[np.floating]

# 3DDFA's crop: a square of sqrt(2) times the longer side of the landmarks' bounding box.
LANDMARK_MARGIN = 2**0.5


def landmark_box(points: Array) -> Array:
    """Boxes (..., 4) x0, y0, x1, y1 around points (..., N, 2 or 3), ignoring NaN points."""
    xy = np.asarray(points)[..., :2]
    return np.concatenate([np.nanmin(xy, -2), np.nanmax(xy, -2)], -1)


def square_crop(box: Array, size: int, margin: float = LANDMARK_MARGIN) -> Array:
    """Affine maps (..., 2, 3) that bring the square around boxes (..., 4) to size x size crops.

    The square shares the box's centre; its side is `margin` times the box's longer side.
    """
    box = np.asarray(box, np.float64)
    centre = (box[..., :2] + box[..., 2:]) / 2
    scale = size / (margin * (box[..., 2:] - box[..., :2]).max(-1))
    affine = np.zeros((*box.shape[:-1], 2, 3))
    affine[..., 0, 0] = affine[..., 1, 1] = scale
    affine[..., 2] = (size - 1) / 2 - scale[..., None] * centre
    return affine


def invert_affine(affine: Array) -> Array:
    """The inverse (..., 2, 3) of affine maps (..., 2, 3)."""
    linear = np.linalg.inv(affine[..., :2])
    return np.concatenate([linear, -linear @ affine[..., 2:]], -1)


def affine_scale(affine: A) -> A:
    """Return the length scale (...) of affine maps (..., 2, 3): the square root of the ratio of areas."""
    determinant = affine[..., 0, 0] * affine[..., 1, 1] - affine[..., 0, 1] * affine[..., 1, 0]
    return abs(determinant) ** 0.5


def transform_points(affine: A, points: A) -> A:
    """Map points by affine maps.

    Args:
        affine: (..., 2, 3).
        points: (..., N, 2) or (..., N, 3). A third coordinate is multiplied by `affine_scale`.

    Returns:
        The points in the frame that the maps lead to, of the same shape.
    """
    linear, offset = affine[..., :2], affine[..., 2]
    xy = points[..., :2] @ linear.swapaxes(-1, -2) + offset[..., None, :]
    parts: Any = (xy, points[..., 2:] * affine_scale(affine)[..., None, None])
    joined: Any = torch.cat(parts, -1) if isinstance(points, Tensor) else np.concatenate(parts, -1)
    return cast(A, joined)


def warp(image: NDArray[np.uint8], affine: Array, size: int) -> NDArray[np.uint8]:
    """The size x size x 3 crop of an HxWx3 image, bilinear, zero outside the image.

    Where the crop shrinks the image more than twofold, the source region is first averaged down by a whole factor, so
    that large faces do not alias.
    """
    affine = np.asarray(affine, np.float64)
    factor = int(1 / affine_scale(affine))
    if factor >= 2:
        image, affine = _shrink(image, affine, size, factor)
    return np.asarray(cv2.warpAffine(image, affine, (size, size), flags=cv2.INTER_LINEAR), np.uint8)


def _shrink(image: NDArray[np.uint8], affine: Array, size: int, factor: int) -> tuple[NDArray[np.uint8], Array]:
    """The source region of a crop, averaged over factor x factor blocks, and the crop's affine from there."""
    corners = transform_points(invert_affine(affine), np.array([[-1.0, -1.0], [size, size]]))
    height, width = image.shape[:2]
    x0, y0 = np.clip(np.floor(corners[0]).astype(int), 0, [width - 1, height - 1])
    x1, y1 = np.clip(np.ceil(corners[1]).astype(int) + 1, [x0 + 1, y0 + 1], [width, height])
    columns, rows = -(-(x1 - x0) // factor), -(-(y1 - y0) // factor)
    pad_x, pad_y = columns * factor - (x1 - x0), rows * factor - (y1 - y0)
    region = cv2.copyMakeBorder(image[y0:y1, x0:x1], 0, pad_y, 0, pad_x, cv2.BORDER_REPLICATE)
    small = cv2.resize(region, (columns, rows), interpolation=cv2.INTER_AREA)
    # A small pixel u covers image pixels x0 + factor * u + (factor - 1) / 2 on average.
    offset = np.array([x0, y0]) + (factor - 1) / 2
    moved = np.concatenate([affine[:, :2] * factor, affine[:, 2:] + affine[:, :2] @ offset[:, None]], 1)
    return np.asarray(small, np.uint8), moved
