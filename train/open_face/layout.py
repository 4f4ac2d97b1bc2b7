"""Texture coordinates: every connected part of the mesh is flattened onto a disc, and the discs share one square.

The skin fills the large disc. Eyeballs, gums, teeth and the linings of mouth and eye sockets lie in a strip below it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from train.open_face.arrays import Floats, Indices
from train.open_face.decimate import border_edges
from train.open_face.exact import cross, length
from train.open_face.mesh import Mesh
from train.open_face.source import NARROW_FACE, TEETH_END, TEETH_STARTS

FACE_ZOOM = 1.5
"""The face is drawn this many times larger than the rest of the skin."""
SKIN_DISC = (0.5, 0.54, 0.458)
"""Centre and radius of the skin's disc in the unit square."""
PART_RADIUS, TOOTH_RADIUS = 0.036, 0.0115
UV_STEP = 2.0**-17
_ROUNDS = 25
_RINGS = 64
_UNTANGLING = 500
_LEAST_AREA = 1e-6


def texture_coordinates(vertices: Floats, mesh: Mesh) -> NDArray[np.float32]:
    """Lay out the mesh in the unit square.

    Returns:
        Texture coordinates (V, 2) in [0, 1], v up, in which no two triangles overlap.
    """
    count = len(vertices)
    links = coo_matrix(
        (np.ones(mesh.triangles.size), (mesh.triangles.ravel(), np.roll(mesh.triangles, 1, 1).ravel())), (count, count)
    )
    _, part = connected_components(links, directed=False)
    is_tooth = mesh.within(range(TEETH_STARTS[0], TEETH_END))
    zoom = np.where(mesh.within(NARROW_FACE), FACE_ZOOM, 1.0)
    skin = part[mesh.landmarks[0]]
    uv = np.zeros((count, 2))
    parts, teeth = 0, 0
    for label in range(part.max() + 1):
        own = np.flatnonzero(part == label)
        number = np.full(count, -1, np.intp)
        number[own] = np.arange(len(own))
        triangles = number[mesh.triangles[part[mesh.triangles[:, 0]] == label]]
        if label == skin:
            x, y, radius = SKIN_DISC
            centre = int(number[mesh.landmarks[30]])
        else:
            centre = None
            if is_tooth[own].any():
                x, y, radius = 0.5 + 0.026 * (teeth % 12), 0.02 + 0.03 * (teeth // 12), TOOTH_RADIUS
                teeth += 1
            else:
                x, y, radius = 0.04 + 0.077 * parts, 0.04, PART_RADIUS
                parts += 1
        disc = flatten(vertices[own], triangles, zoom[own], centre)
        if label == skin:
            disc = (disc + disc[number[mesh.mirror[own]]] * [-1, 1]) / 2
        uv[own] = disc * radius + [x, y]
    return np.asarray(np.rint(uv / UV_STEP) * UV_STEP, np.float32)


def flatten(vertices: Floats, triangles: Indices, zoom: Floats, centre: int | None = None) -> Floats:
    """Flatten a disc-like mesh onto the unit disc without overlaps.

    Tutte's embedding ("How to draw a graph", 1963): the border goes to the circle, every other vertex to a weighted
    mean of its neighbours; any positive weights avoid overlaps. The weights are adapted until edges are about as long,
    in relation to their neighbours, as on the surface. With a centre, circles around it are then spread until they
    enclose areas as on the surface. Holes are closed by a vertex in their middle.

    Args:
        vertices: (N, 3).
        triangles: (F, 3) with at least one border; its longest border goes to the circle.
        zoom: (N,) how large each place shall be drawn.
        centre: vertex that comes to the middle of the disc.

    Returns:
        (N, 2) positions in the unit disc. The border's point of x = 0 with the largest z goes to the bottom.
    """
    count = len(vertices)
    loops = sorted(_loops(border_edges(triangles)), key=lambda loop: (-_length(vertices, loop), loop[0]))
    rim, holes = loops[0], loops[1:]
    for hole in holes:
        middle = len(vertices)
        vertices = np.concatenate([vertices, vertices[hole].mean(0, keepdims=True)])
        zoom = np.concatenate([zoom, zoom[hole[:1]]])
        fan = [(b, a, middle) for a, b in zip(hole, hole[1:] + hole[:1], strict=True)]
        triangles = np.concatenate([triangles, np.array(fan, np.intp)])
    edges = np.unique(np.sort(triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1), axis=0)
    wanted = length(vertices[edges[:, 1]] - vertices[edges[:, 0]]) * (zoom[edges[:, 0]] + zoom[edges[:, 1]])
    wanted = np.maximum(wanted, 1e-3)
    flat = np.zeros((len(vertices), 2))
    flat[rim] = _circle(vertices[rim])
    free = np.ones(len(vertices), bool)
    free[rim] = False
    weight = np.ones(len(edges))
    for _ in range(_ROUNDS):
        flat = _settle(flat, edges, weight, free)
        step = flat[edges[:, 1]] - flat[edges[:, 0]]
        stretch = np.sqrt(step[:, 0] ** 2 + step[:, 1] ** 2) / wanted
        middle_stretch = np.sort(stretch)[len(stretch) // 2]
        weight *= np.sqrt(np.clip(stretch / middle_stretch, 0.01, 100.0))
        weight = np.clip(weight / np.sort(weight)[len(weight) // 2], 1e-4, 1e4)
    if centre is not None:
        flat = _spread(_centred(flat, flat[centre]), _areas(vertices, triangles) * zoom * zoom)
    return _untangled(flat, triangles, edges, free)[:count]


def _untangled(flat: Floats, triangles: Indices, edges: Indices, free: NDArray[np.bool_]) -> Floats:
    """Move the corners of triangles that lie upside down to the mean of their neighbours until there are none."""
    both = np.concatenate([edges, edges[:, ::-1]])
    degree = np.bincount(both[:, 0], minlength=len(flat))
    for _ in range(_UNTANGLING):
        a, b, c = (flat[triangles[:, i]] for i in range(3))
        doubled = (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (b[:, 1] - a[:, 1]) * (c[:, 0] - a[:, 0])
        wrong = doubled < _LEAST_AREA
        if not wrong.any():
            break
        moved = np.zeros(len(flat), bool)
        moved[triangles[wrong]] = True
        moved &= free
        mean = np.stack([np.bincount(both[:, 0], flat[both[:, 1], i], len(flat)) for i in range(2)], 1)
        flat = np.where(moved[:, None], mean / degree[:, None], flat)
    return flat


def _areas(vertices: Floats, triangles: Indices) -> Floats:
    """Return a third of the area of the triangles around each vertex (N,)."""
    a, b, c = (vertices[triangles[:, i]] for i in range(3))
    third = length(cross(b - a, c - a)) / 6
    return np.asarray(sum(np.bincount(triangles[:, i], third, len(vertices)) for i in range(3)))


def _centred(flat: Floats, middle: Floats) -> Floats:
    """Move a point of the unit disc to its centre by the conformal map of the disc onto itself."""
    a, b = float(middle[0]), float(middle[1])
    x, y = flat[:, 0], flat[:, 1]
    # (z - m) / (1 - conj(m) z) with z = x + iy and m = a + ib
    top_x, top_y = x - a, y - b
    low_x, low_y = 1 - (a * x + b * y), -(a * y - b * x)
    size = low_x * low_x + low_y * low_y
    return np.stack([(top_x * low_x + top_y * low_y) / size, (top_y * low_x - top_x * low_y) / size], 1)


def _spread(flat: Floats, area: Floats) -> Floats:
    """Move points of the unit disc outwards or inwards until circles enclose their fraction of the area (N,)."""
    radius = np.minimum(np.sqrt(flat[:, 0] ** 2 + flat[:, 1] ** 2), 1.0)
    order = np.argsort(radius, kind="stable")
    enclosed = np.cumsum(area[order])
    enclosed = enclosed / enclosed[-1]
    at = np.minimum(np.searchsorted(enclosed, np.arange(1, _RINGS) / _RINGS), len(order) - 1)
    knots = np.concatenate([[0.0], radius[order[at]], [1.0]])
    wanted = np.sqrt(np.concatenate([[0.0], enclosed[at], [1.0]]))
    keep = np.concatenate([[True], np.diff(knots) > 1e-9])
    moved = np.interp(radius, knots[keep], wanted[keep])
    return np.asarray(flat * (moved / np.maximum(radius, 1e-12))[:, None])


def _circle(points: Floats) -> Floats:
    """Return positions (K, 2) on the unit circle, in proportion to the lengths along a closed border (K, 3)."""
    along = np.cumsum(length(np.roll(points, -1, axis=0) - points))
    # The border's front, where z is largest near x = 0, goes to the bottom of the disc.
    start = int(np.argmax(np.where(np.abs(points[:, 0]) <= np.abs(points[:, 0]).min() + 1e-9, points[:, 2], -np.inf)))
    turn = (np.concatenate([[0.0], along[:-1]]) - np.concatenate([[0.0], along[:-1]])[start]) / along[-1]
    angle = (2 * turn - 0.5) * np.pi
    return np.stack([np.cos(angle), np.sin(angle)], 1)


def _loops(edges: Indices) -> list[list[int]]:
    """Return the closed borders of directed edges (B, 2), as lists of vertices."""
    after = dict(edges.tolist())
    loops = []
    while after:
        start, vertex = next(iter(after.items()))
        loop = [start]
        del after[start]
        while vertex != start:
            loop.append(vertex)
            vertex = after.pop(vertex)
        loops.append(loop)
    return loops


def _length(vertices: Floats, loop: list[int]) -> float:
    return float(np.cumsum(length(vertices[loop] - np.roll(vertices[loop], 1, axis=0)))[-1])


def _settle(flat: Floats, edges: Indices, weight: Floats, free: NDArray[np.bool_]) -> Floats:
    """Bring every free vertex to the weighted mean of its neighbours: conjugate gradients from the present places.

    Sums are taken in a fixed order, so that the result is the same on every machine.
    """
    first, second = edges[:, 0], edges[:, 1]
    count = len(flat)
    total = np.bincount(first, weight, count) + np.bincount(second, weight, count)

    def pull(x: Floats) -> Floats:
        """Return the Laplacian of values (N,), at the free vertices."""
        drawn = np.bincount(first, weight * x[second], count) + np.bincount(second, weight * x[first], count)
        return np.where(free, total * x - drawn, 0.0)

    def inner(x: Floats, y: Floats) -> float:
        return float(np.cumsum(x * y)[-1])

    out = flat.copy()
    for axis in range(2):
        x = flat[:, axis].copy()
        residual = -pull(x)
        scaled = residual / total
        direction, power = scaled, inner(residual, scaled)
        goal = 1e-16 * power + 1e-24
        for _ in range(2000):
            if power <= goal:
                break
            image = pull(direction)
            distance = power / inner(direction, image)
            x = x + distance * direction
            residual = residual - distance * image
            scaled = residual / total
            previous, power = power, inner(residual, scaled)
            direction = scaled + power / previous * direction
        out[:, axis] = x
    return out
