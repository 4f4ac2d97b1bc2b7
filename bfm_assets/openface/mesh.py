"""Topology of the face: a planar triangulation of its unrolled surface, with edge loops around eyes and mouth.

Seen from a point inside the head, every direction meets the face once. The azimuthal equidistant map of directions is
the plane in which the mesh is laid out (and, rescaled, its texture map). Only the half x >= 0 is made; the other is its
mirror image, so the mesh is exactly symmetric.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import Delaunay, cKDTree

Points = NDArray[np.float64]
Indices = NDArray[np.intp]

VIEWPOINT = np.array([0.0, -5.0, 25.0])
MM_PER_RADIAN = 100.0
NECK_FROM = -84.0
"""Below this height the neck is bent forward before it is unrolled, as it would hardly be seen from the viewpoint."""


def unroll(points: Points) -> Points:
    """Plane coordinates (..., 2) of surface points (..., 3)."""
    bent = points - VIEWPOINT
    bent[..., 2] -= 0.9 * np.maximum(NECK_FROM - points[..., 1], 0)
    across = np.hypot(bent[..., 0], bent[..., 1])
    angle = np.arctan2(across, bent[..., 2])
    return np.asarray(bent[..., :2] * (MM_PER_RADIAN * angle / np.maximum(across, 1e-9))[..., None])


def strip(first: Indices, second: Indices, closed: bool) -> Indices:
    """Triangles (T, 3) between two chains of equally many vertices, the first one inside a counter-clockwise loop."""
    a, b = first, second
    if closed:
        a, b = np.append(a, a[0]), np.append(b, b[0])
    quads = np.column_stack([a[:-1], b[:-1], b[1:], a[1:]])
    return np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])


def area(points: Points, triangles: Indices) -> NDArray[np.float64]:
    """Signed areas (T,) of triangles of plane points (N, 2)."""
    a, b, c = (points[triangles[:, k]] for k in range(3))
    u, v = b - a, c - a
    return np.asarray((u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0]) / 2)


def spacing(points: Points, fine: Points, coarse: float, finest: float) -> NDArray[np.float64]:
    """Wanted edge length (N,) at plane points: `finest` at the fine points, growing away from them to `coarse`."""
    return np.asarray(np.minimum(finest + 0.14 * cKDTree(fine).query(points)[0], coarse))


@dataclass(frozen=True)
class Layout:
    """A plane mesh of the right image half.

    Attributes:
        points: (N, 2) plane coordinates, fixed points first and in their order.
        triangles: (T, 3) counter-clockwise.
    """

    points: Points
    triangles: Indices


def fill(fixed: Points, border: Points, holes: list[Points], fine: Points, coarse: float, finest: float) -> Layout:
    """Triangulate the region inside the border (B, 2) and outside the holes, around the fixed points (N, 2).

    Free points are drawn from a fine lattice, thinned to the wanted spacing and evened out. None stays in the circle
    over an edge of the border or of a hole, so that the Delaunay triangulation keeps these edges.
    """
    low, high = border.min(0), border.max(0)
    rng = np.random.default_rng(68)
    step = finest / 2
    lattice = np.stack(np.meshgrid(np.arange(low[0], high[0], step), np.arange(low[1], high[1], step)), -1)
    candidates = lattice.reshape(-1, 2) + rng.uniform(-0.3, 0.3, (lattice.size // 2, 2)) * step
    candidates = candidates[_inside(candidates, border, holes)]
    wanted = spacing(candidates, fine, coarse, finest)
    tree = cKDTree(candidates)
    alive = cKDTree(fixed).query(candidates)[0] > 0.8 * wanted
    alive &= candidates[:, 0] > 0.6 * wanted
    chosen = []
    for index in rng.permutation(len(candidates)):
        if alive[index]:
            chosen.append(index)
            alive[tree.query_ball_point(candidates[index], 0.86 * wanted[index])] = False
    points = np.concatenate([fixed, candidates[chosen]])
    for _ in range(12):
        triangles = _delaunay(points, border, holes)
        points = _evened(points, triangles, len(fixed))
    near = np.zeros(len(points), bool)
    for loop in [border, *holes]:
        for a, b in zip(loop, np.roll(loop, -1, axis=0), strict=True):
            if np.linalg.norm(b - a) < 2 * coarse and min(a[0], b[0]) >= 0:
                near |= ((points - a) * (points - b)).sum(1) < -1e-9
    near[: len(fixed)] = False
    points = points[~near]
    return Layout(points, _delaunay(points, border, holes))


def within(points: Points, polygon: Points) -> NDArray[np.bool_]:
    """Which plane points (N, 2) lie inside a closed polygon (K, 2), by the even-odd rule: (N,)."""
    inside = np.zeros(len(points), bool)
    for a, b in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        if a[1] == b[1]:
            continue
        beside = (a[1] > points[:, 1]) != (b[1] > points[:, 1])
        crossing = a[0] + (points[:, 1] - a[1]) * (b[0] - a[0]) / (b[1] - a[1])
        inside ^= beside & (points[:, 0] < crossing)
    return inside


def _inside(points: Points, border: Points, holes: list[Points]) -> NDArray[np.bool_]:
    inside = within(points, border)
    for hole in holes:
        inside &= ~within(points, hole)
    return inside


def _delaunay(points: Points, border: Points, holes: list[Points]) -> Indices:
    triangles = np.asarray(Delaunay(points).simplices, np.intp)
    flipped = area(points, triangles) < 0
    triangles[flipped] = triangles[flipped][:, ::-1]
    keep = _inside(points[triangles].mean(1), border, holes) & (area(points, triangles) > 1e-3)
    triangles = triangles[keep]
    order = np.lexsort(np.sort(triangles, axis=1).T)
    return triangles[order]


def _evened(points: Points, triangles: Indices, n_fixed: int) -> Points:
    """The points with each free one moved to the area-weighted mean of the triangles around it."""
    weight = np.abs(area(points, triangles))
    centre = points[triangles].mean(1)
    total, moment = np.zeros(len(points)), np.zeros_like(points)
    for k in range(3):
        np.add.at(total, triangles[:, k], weight)
        np.add.at(moment, triangles[:, k], weight[:, None] * centre)
    moved = points.copy()
    moved[n_fixed:] += 0.7 * (moment[n_fixed:] / total[n_fixed:, None] - points[n_fixed:])
    return moved
