"""Which points of a face the camera sees: those that no part of the mesh hides."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from synergy.raster import Rasterizer, facing, rasterize

# Longer side in pixels of the depth map, for faces of every size.
_SIDE = 512
# A point is hidden if the mesh is nearer, at each of the four pixels around the point, by more than this number of
# pixels of the depth map.
_TOLERANCE = 2.0


def visible_points(
    points: NDArray[np.floating],
    vertices: NDArray[np.floating],
    triangles: NDArray[np.integer],
    rasterizer: Rasterizer = rasterize,
) -> NDArray[np.bool_]:
    """Find the points in front of which there is no mesh.

    Points near the surface count as visible. A point outside the image is visible if nothing is in front of it.

    Args:
        points: (N, 3) in image space (`synergy.geometry`).
        vertices: (V, 3) of the mesh, in image space.
        triangles: (F, 3) vertex indices. Only triangles that face the camera hide anything.
        rasterizer: finds the triangle at each pixel (`synergy.raster.rasterizer`).

    Returns:
        (N,) bool.

    Example:
        >>> square = np.array([[0, 0, 5], [9, 0, 5], [9, 9, 5], [0, 9, 5]], np.float32)
        >>> seen_from_outside = np.array([[0, 2, 1], [0, 3, 2]])
        >>> visible_points(np.array([[4, 4, 5], [4, 4, 1], [20, 4, 1]]), square, seen_from_outside).tolist()
        [True, False, True]
    """
    front = triangles[facing(np.asarray(vertices, np.float32), triangles)]
    if not len(front):
        return np.ones(len(points), bool)
    used = vertices[np.unique(front)]
    low, extent = used[:, :2].min(0), float(np.ptp(used[:, :2], axis=0).max())
    scale = _SIDE / max(extent, 1e-6)
    origin = np.array([*low, 0.0])
    width, height = (np.ceil(np.ptp(used[:, :2], axis=0) * scale).astype(int) + 1).tolist()
    depth = rasterizer(np.asarray((vertices - origin) * scale, np.float32), front, height, width).depth
    placed = (points - origin) * scale
    # A border without mesh, into which all points outside are moved.
    framed = np.pad(depth, 1, constant_values=-np.inf)
    column, row = (np.floor(placed[:, :2]).astype(int).clip(-1, [width - 1, height - 1]) + 1).T
    nearest = np.minimum.reduce([framed[row + dy, column + dx] for dy in (0, 1) for dx in (0, 1)])
    return np.asarray(placed[:, 2] >= nearest - _TOLERANCE)
