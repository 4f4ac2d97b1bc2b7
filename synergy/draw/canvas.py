"""What all drawing functions share: types, sub-pixel positions, line widths, text, and the part of an image to draw."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Array = NDArray[np.floating]
Colour = tuple[int, int, int]

# OpenCV takes sub-pixel positions as fixed-point numbers with this many fractional bits.
SHIFT = 4


def fixed_point(points: Array) -> list[tuple[int, int]]:
    """Return x and y of points as OpenCV's fixed-point coordinates."""
    return [(int(x), int(y)) for x, y in np.rint(np.asarray(points)[:, :2] * 2**SHIFT)]


def extent(points: Array) -> float:
    """Return the longer side in pixels of the bounding box of points (N, 2 or 3)."""
    return float(np.ptp(points[:, :2], axis=0).max())


def line_width(points: Array) -> float:
    """Return a line width in pixels that suits the extent of a face's points."""
    return max(1.0, extent(points) / 120)


def region(vertices: Array, triangles: NDArray[np.integer], image: Image, margin: int = 0) -> tuple[slice, slice]:
    """Return the rows and columns of the image that triangles can cover.

    Args:
        vertices: (V, 2 or 3) in image pixels.
        triangles: (F, 3) vertex indices.
        image: (H, W, 3).
        margin: number of pixels around the triangles that belong to the region.
    """
    height, width = image.shape[:2]
    if not len(triangles):
        return slice(0, 0), slice(0, 0)
    used = vertices[np.unique(triangles), :2]
    x0, y0 = np.clip(np.floor(used.min(0)).astype(int) - margin, 0, [width, height]).tolist()
    x1, y1 = np.clip(np.ceil(used.max(0)).astype(int) + margin + 1, [x0, y0], [width, height]).tolist()
    return slice(y0, y1), slice(x0, x1)


def paint_text(out: Image, text: str, corner: Array, height: float) -> None:
    """Write white text with a dark rim into the image.

    Args:
        out: (H, W, 3) uint8 RGB, which is changed.
        text: one line of ASCII, because OpenCV's fonts have no other characters.
        corner: (2,) where the lower left corner of the text should be. The text is moved where it would not fit.
        height: of capital letters in pixels. The least is 9.
    """
    # A capital letter of this font is 22 pixels high at scale 1.
    scale = max(0.4, height / 22)
    thickness = max(1, round(1.5 * scale))
    (width, ascent), descent = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, thickness)
    x = max(1, min(round(float(corner[0])), out.shape[1] - width - 1))
    y = max(ascent + 1, min(round(float(corner[1])), out.shape[0] - descent - 1))
    # The rim is the text itself, moved by a pixel to each side. A thicker text is wider in some versions of OpenCV.
    around = [(dx, dy) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if (dx, dy) != (0, 0)]
    for colour, offsets in (((20, 20, 20), around), ((255, 255, 255), [(0, 0)])):
        for dx, dy in offsets:
            place = (x + dx, y + dy)
            cv2.putText(out, text, place, cv2.FONT_HERSHEY_SIMPLEX, scale, colour, thickness, cv2.LINE_AA)
