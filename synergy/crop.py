"""Face crops as affine maps with an exact inverse.

A crop is described by a 2x3 matrix that maps image pixels to crop pixels. Both have pixel centres at integers. The map
scales by one factor in x and y. `square_crop` does not rotate; `synergy.upright` makes maps that do. Arrays are numpy
arrays, and (...) is any leading shape. `affine_scale` and `transform_points` also take torch tensors, and maps that
mirror.
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

# 3DDFA's crop is a square whose side is sqrt(2) times the longer side of the landmarks' bounding box.
LANDMARK_MARGIN = 2**0.5
# The longest side in pixels of an image that OpenCV 4 warps.
_MAX_SIDE = 2**15 - 2


def landmark_box(points: Array) -> Array:
    """Return the bounding boxes of points. Points that are NaN are ignored.

    Args:
        points: (..., N, 2 or 3) in pixels.

    Returns:
        Boxes (..., 4) x0, y0, x1, y1 in pixels.

    Example:
        >>> landmark_box(np.array([[1.0, 5.0], [3.0, 4.0]])).tolist()
        [1.0, 4.0, 3.0, 5.0]
    """
    xy = np.asarray(points)[..., :2]
    return np.concatenate([np.nanmin(xy, -2), np.nanmax(xy, -2)], -1)


def square_crop(box: Array, size: int, margin: float = LANDMARK_MARGIN) -> Array:
    """Return the affine maps from an image to square crops around boxes.

    Args:
        box: (..., 4) x0, y0, x1, y1 in image pixels.
        size: side of the crops in pixels.
        margin: side of the square in the image, in units of the longer side of the box. The square has the same
            centre as the box.

    Returns:
        Affine maps (..., 2, 3) from image pixels to crop pixels.

    Example:
        >>> crop = square_crop(np.array([40.0, 30.0, 180.0, 200.0]), size=120)
        >>> points = np.array([[110.0, 115.0]])  # the centre of the box
        >>> transform_points(crop, points).tolist()
        [[59.5, 59.5]]
    """
    box = np.asarray(box, np.float64)
    centre = (box[..., :2] + box[..., 2:]) / 2
    scale = size / (margin * (box[..., 2:] - box[..., :2]).max(-1))
    affine = np.zeros((*box.shape[:-1], 2, 3))
    affine[..., 0, 0] = affine[..., 1, 1] = scale
    affine[..., 2] = (size - 1) / 2 - scale[..., None] * centre
    return affine


def invert_affine(affine: Array) -> Array:
    """Return the inverse of affine maps (..., 2, 3).

    Example:
        >>> crop = square_crop(np.array([40.0, 30.0, 180.0, 200.0]), size=120)
        >>> transform_points(invert_affine(crop), np.array([[59.5, 59.5]])).round(6).tolist()
        [[110.0, 115.0]]
    """
    linear = np.linalg.inv(affine[..., :2])
    return np.concatenate([linear, -linear @ affine[..., 2:]], -1)


def compose_affine(second: Array, first: Array) -> Array:
    """Return the affine maps (..., 2, 3) that apply the maps `first` and then the maps `second`.

    Example:
        >>> crop = square_crop(np.array([40.0, 30.0, 180.0, 200.0]), size=120)
        >>> compose_affine(invert_affine(crop), crop).round(6).tolist()
        [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]
    """
    linear = second[..., :2] @ first[..., :2]
    return np.concatenate([linear, second[..., :2] @ first[..., 2:] + second[..., 2:]], -1)


def affine_scale(affine: A) -> A:
    """Return the factor (...) by which affine maps (..., 2, 3) scale lengths, the square root of the ratio of areas.

    Example:
        >>> float(affine_scale(np.array([[0.5, 0.0, 7.0], [0.0, 0.5, 9.0]])))
        0.5
    """
    determinant = affine[..., 0, 0] * affine[..., 1, 1] - affine[..., 0, 1] * affine[..., 1, 0]
    return abs(determinant) ** 0.5


def transform_points(affine: A, points: A) -> A:
    """Map points by affine maps.

    Args:
        affine: (..., 2, 3).
        points: (..., N, 2 or 3). A third coordinate is multiplied by `affine_scale`.

    Returns:
        The mapped points, with the same shape as `points`.

    Example:
        >>> transform_points(np.array([[2.0, 0.0, 1.0], [0.0, 2.0, 1.0]]), np.array([[3.0, 4.0, 5.0]])).tolist()
        [[7.0, 9.0, 10.0]]
    """
    linear, offset = affine[..., :2], affine[..., 2]
    xy = points[..., :2] @ linear.swapaxes(-1, -2) + offset[..., None, :]
    parts: Any = (xy, points[..., 2:] * affine_scale(affine)[..., None, None])
    joined: Any = torch.cat(parts, -1) if isinstance(points, Tensor) else np.concatenate(parts, -1)
    return cast(A, joined)


def warp(image: NDArray[np.uint8], affine: Array, size: int) -> NDArray[np.uint8]:
    """Cut a crop out of an image by bilinear interpolation. Pixels outside the image are zero.

    If the crop reduces the image by a factor of 2 or more, blocks of pixels are averaged first. Otherwise large faces
    would show aliasing.

    Args:
        image: (H, W, 3) uint8.
        affine: (2, 3) map from image pixels to crop pixels.
        size: side of the crop in pixels.

    Returns:
        (size, size, 3) uint8, in the channel order of the image.

    Example:
        >>> image = np.full((480, 640, 3), 200, np.uint8)
        >>> crop = warp(image, square_crop(np.array([240.0, 160.0, 400.0, 320.0]), size=120), size=120)
        >>> crop.shape, int(crop.min())
        ((120, 120, 3), 200)
    """
    affine = np.asarray(affine, np.float64)
    factor = max(1, int(1 / affine_scale(affine)))
    if factor >= 2 or max(image.shape) > _MAX_SIDE:
        image, affine = _shrink(image, affine, size, factor)
    return np.asarray(cv2.warpAffine(image, affine, (size, size), flags=cv2.INTER_LINEAR), np.uint8)


def _shrink(image: NDArray[np.uint8], affine: Array, size: int, factor: int) -> tuple[NDArray[np.uint8], Array]:
    """Average the region of a crop over blocks of factor x factor pixels.

    Returns:
        The reduced region, and the affine map (2, 3) from its pixels to crop pixels.
    """
    corners = np.array([[-1.0, -1.0], [size, -1.0], [-1.0, size], [size, size]])
    low, high = np.split(landmark_box(transform_points(invert_affine(affine), corners)), 2)
    height, width = image.shape[:2]
    x0, y0 = np.clip(np.floor(low).astype(int), 0, [width - 1, height - 1])
    x1, y1 = np.clip(np.ceil(high).astype(int) + 1, [x0 + 1, y0 + 1], [width, height])
    columns, rows = -(-(x1 - x0) // factor), -(-(y1 - y0) // factor)
    pad_x, pad_y = columns * factor - (x1 - x0), rows * factor - (y1 - y0)
    region = cv2.copyMakeBorder(image[y0:y1, x0:x1], 0, pad_y, 0, pad_x, cv2.BORDER_REPLICATE)
    small = cv2.resize(region, (columns, rows), interpolation=cv2.INTER_AREA)
    # The centre of the reduced pixel u lies at x0 + factor * u + (factor - 1) / 2 in the image.
    offset = np.array([x0, y0]) + (factor - 1) / 2
    moved = np.concatenate([affine[:, :2] * factor, affine[:, 2:] + affine[:, :2] @ offset[:, None]], 1)
    return np.asarray(small, np.uint8), moved
