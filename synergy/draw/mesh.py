"""Draw a mesh: its wireframe, shaded, or with colours of its vertices."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from synergy.draw.canvas import SHIFT, Array, Colour, Image, fixed_point, region
from synergy.raster import Rasterizer, facing, rasterize, vertex_normals

_WIRE: Colour = (120, 200, 255)
# Direction towards the light in image space.
_LIGHT = np.array([0.25, -0.35, 0.9]) / np.linalg.norm([0.25, -0.35, 0.9])
# A mesh is drawn in horizontal bands of about this many pixels, which limits the memory that large faces need.
_BAND_PIXELS = 1 << 18
# Distance in pixels around the vertices within which a wireframe changes the image.
_LINE_MARGIN = 2


def draw_wireframe(image: Image, vertices: Array, triangles: NDArray[np.integer], colour: Colour = _WIRE) -> Image:
    """Draw the edges of the triangles that face the camera, at 40 % opacity.

    Args:
        image: (H, W, 3) uint8 RGB.
        vertices: (V, 3) in image pixels.
        triangles: (F, 3) vertex indices.
        colour: RGB.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    out = image.copy()
    visible = triangles[facing(vertices, triangles)]
    rows, columns = region(vertices, visible, image, _LINE_MARGIN)
    before = image[rows, columns]
    if before.size:
        lines = before.copy()
        points = np.array(fixed_point(vertices)) - np.array([columns.start, rows.start]) * 2**SHIFT
        cv2.polylines(lines, list(points[visible]), True, colour, 1, cv2.LINE_AA, SHIFT)
        out[rows, columns] = cv2.addWeighted(lines, 0.4, before, 0.6, 0)
    return out


def draw_mesh(
    image: Image,
    vertices: Array,
    triangles: NDArray[np.integer],
    colours: NDArray[np.uint8] | None = None,
    alpha: float = 1.0,
    rasterizer: Rasterizer = rasterize,
) -> Image:
    """Draw a shaded mesh over the image.

    Args:
        image: (H, W, 3) uint8 RGB.
        vertices: (V, 3) in image pixels, larger z is nearer.
        triangles: (F, 3) vertex indices. Only triangles that face the camera are drawn.
        colours: (V, 3) uint8 RGB of the vertices, grey by default.
        alpha: opacity in 0..1.
        rasterizer: finds the triangle at each pixel (`synergy.raster.rasterizer`).

    Returns:
        (H, W, 3) uint8 RGB.
    """
    out = image.copy()
    paint_mesh(out, vertices, triangles, colours, alpha, rasterizer)
    return out


def paint_mesh(
    out: Image,
    vertices: Array,
    triangles: NDArray[np.integer],
    colours: NDArray[np.uint8] | None,
    alpha: float,
    rasterizer: Rasterizer,
) -> None:
    """Draw a shaded mesh into the image; see `draw_mesh`."""
    light = 0.3 + 0.7 * np.clip(vertex_normals(vertices, triangles) @ _LIGHT, 0, 1)[:, None]
    paint_colours(out, vertices, triangles, light * (200.0 if colours is None else colours), alpha, rasterizer)


def paint_colours(
    out: Image,
    vertices: Array,
    triangles: NDArray[np.integer],
    colours: Array,
    alpha: float,
    rasterizer: Rasterizer,
) -> None:
    """Draw a mesh with the interpolated colours of its vertices into the image, band by band.

    Args:
        out: (H, W, 3) uint8 RGB, which is changed.
        vertices: (V, 3) in image pixels, larger z is nearer.
        triangles: (F, 3) vertex indices. Only triangles that face the camera are drawn.
        colours: (V, 1 or 3) in 0..255.
        alpha: opacity in 0..1.
        rasterizer: finds the triangle at each pixel (`synergy.raster.rasterizer`).
    """
    front = triangles[facing(vertices, triangles)]
    rows, columns = region(vertices, front, out)
    band = max(1, _BAND_PIXELS // max(1, columns.stop - columns.start))
    for top in range(rows.start, rows.stop, band):
        target = out[top : min(top + band, rows.stop), columns]
        shifted = np.asarray(vertices - [columns.start, top, 0], np.float32)
        fragments = rasterizer(shifted, front, *target.shape[:2])
        painted = fragments.interpolate_covered(colours, front)
        below = target[fragments.mask].astype(np.float32)
        target[fragments.mask] = np.rint(below + (painted - below) * np.float32(alpha)).astype(np.uint8)
