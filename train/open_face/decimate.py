"""Simplify a triangle mesh by collapsing edges, the same way on every machine.

Garland and Heckbert 1997, "Surface simplification using quadric error metrics", with every collapse ending at one of
the edge's two vertices. The simplified mesh is therefore a new triangulation of some of the old vertices, and whatever
is known at those vertices stays exact.
"""

from __future__ import annotations

import heapq

import numpy as np
from numpy.typing import NDArray

from train.open_face.arrays import Floats, Indices
from train.open_face.exact import cross, dot, length

BORDER_WEIGHT = 10.0
"""Weight of the planes that keep border edges in place, relative to the planes of the triangles."""


def plane_quadrics(normals: Floats, offsets: Floats, weights: Floats) -> Floats:
    """Compute the quadrics (..., 10) of the squared distances to planes n.x + d = 0, times weights (...).

    Args:
        normals: (..., 3) unit normals n.
        offsets: (...) offsets d.
        weights: (...) weights.

    Returns:
        xx, xy, xz, xd, yy, yz, yd, zz, zd and dd of each plane.
    """
    plane = [normals[..., 0], normals[..., 1], normals[..., 2], offsets]
    return np.stack([plane[i] * plane[j] * weights for i in range(4) for j in range(i, 4)], -1)


def _monomials(points: Floats) -> Floats:
    """Return factors (..., 10): the sum of their products with a quadric is its value at points (..., 3)."""
    x, y, z = points[..., 0], points[..., 1], points[..., 2]
    one = np.ones_like(x)
    return np.stack([x * x, 2 * x * y, 2 * x * z, 2 * x, y * y, 2 * y * z, 2 * y, z * z, 2 * z, one], -1)


def _unit(a: Floats) -> tuple[Floats, Floats]:
    """Return unit vectors (..., 3) and lengths (...)."""
    size = length(a)
    return a / np.maximum(size, 1e-12)[..., None], size


def border_edges(triangles: Indices) -> Indices:
    """Return the directed edges (B, 2) that only one triangle has."""
    edges = triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
    count = len(triangles) and int(triangles.max()) + 1
    forward, backward = edges[:, 0] * count + edges[:, 1], edges[:, 1] * count + edges[:, 0]
    return edges[~np.isin(forward, backward)]


class Simplifier:
    """Collapse edges of a mesh that is given in several poses at once.

    The cost of a collapse is the sum over the poses of its quadric error, plus a small term that keeps edges short:
    what is flat in the neutral face but bends in an expression keeps its vertices.

    Args:
        poses: (P, V, 3) the mesh's vertices in each pose; the first is the neutral one.
        triangles: (F, 3) vertex indices, counter-clockwise.
        locked: (V,) vertices that must stay.
        detail: (V,) factor on the cost of removing a vertex; large where vertices are wanted.
        length_weight: weight of the squared edge length against the quadric error.
    """

    def __init__(
        self, poses: Floats, triangles: Indices, locked: NDArray[np.bool_], detail: Floats, length_weight: float
    ) -> None:
        self.neutral = poses[0]
        self.locked = locked.tolist()
        self.detail = detail.tolist()
        self.length_weight = length_weight
        self.factors = np.moveaxis(_monomials(poses), 1, 0)
        self.quadrics = self._initial_quadrics(poses, triangles)
        self.alive = dict.fromkeys(range(len(triangles)))
        self.triangles: list[tuple[int, int, int]] = [(a, b, c) for a, b, c in triangles.tolist()]
        self.around: list[dict[int, None]] = [{} for _ in range(poses.shape[1])]
        for index, corners in enumerate(self.triangles):
            for vertex in corners:
                self.around[vertex][index] = None
        borders = border_edges(triangles).tolist()
        self.border: list[set[int]] = [set() for _ in range(poses.shape[1])]
        for a, b in borders:
            self.border[a].add(b)
            self.border[b].add(a)
        self.stamp = [0] * poses.shape[1]

    def _initial_quadrics(self, poses: Floats, triangles: Indices) -> Floats:
        """Return quadrics (V, P, 10) of the triangles around each vertex, and of walls along the borders."""
        quadrics = np.zeros((poses.shape[1], len(poses), 10))
        edges = border_edges(triangles)
        owner = {
            (a, b): i for i, row in enumerate(triangles.tolist()) for a, b in zip(row, row[1:] + row[:1], strict=True)
        }
        owners = np.array([owner[a, b] for a, b in edges.tolist()], np.intp)
        for p, points in enumerate(poses):
            a, b, c = (points[triangles[:, i]] for i in range(3))
            normal, area = _unit(cross(b - a, c - a))
            planes = plane_quadrics(normal, -dot(normal, a), area / 2)
            for corner in range(3):
                np.add.at(quadrics[:, p], triangles[:, corner], planes)
            if len(edges):
                start, along = points[edges[:, 0]], points[edges[:, 1]] - points[edges[:, 0]]
                wall, _ = _unit(cross(along, normal[owners]))
                planes = plane_quadrics(wall, -dot(wall, start), BORDER_WEIGHT * dot(along, along))
                for end in range(2):
                    np.add.at(quadrics[:, p], edges[:, end], planes)
        return quadrics

    def _neighbours(self, vertex: int) -> dict[int, None]:
        return {v: None for t in self.around[vertex] for v in self.triangles[t] if v != vertex}

    def _candidates(self, removed: int) -> list[tuple[float, int, int, int]]:
        """Return queue entries (cost, removed, kept, stamp) of the collapses that remove a vertex."""
        if self.locked[removed]:
            return []
        targets = sorted(self.border[removed] or self._neighbours(removed))
        if not targets:
            return []
        joint = self.quadrics[removed][None] + self.quadrics[targets]
        errors = (joint * self.factors[targets]).sum(-1).sum(-1)
        offset = self.neutral[targets] - self.neutral[removed]
        squared = dot(offset, offset)
        cost = self.detail[removed] * (np.maximum(errors, 0) + self.length_weight * squared * squared)
        return [(c, removed, v, self.stamp[removed]) for c, v in zip(cost.tolist(), targets, strict=True)]

    def _is_allowed(self, removed: int, kept: int) -> bool:
        """Return whether a collapse keeps the surface a manifold and rotates triangles by at most about 75 degrees."""
        shared = self._neighbours(removed).keys() & self._neighbours(kept).keys()
        common = [t for t in self.around[removed] if kept in self.triangles[t]]
        if len(shared) != len(common) or not common:
            return False
        moved = [self.triangles[t] for t in self.around[removed] if kept not in self.triangles[t]]
        if not moved:
            return False
        before = np.array(moved)
        after = np.where(before == removed, kept, before)
        normals = []
        for rows in (before, after):
            a, b, c = (self.neutral[rows[:, i]] for i in range(3))
            normal, area = _unit(cross(b - a, c - a))
            normals.append(normal)
        longest = np.max([dot(q, q) for q in (b - a, c - b, a - c)], 0)
        return bool((dot(*normals) > 0.25).all() and (area > 0.06 * longest).all())

    def run(self, count: int) -> Indices:
        """Collapse until `count` vertices are left, or none can go.

        Returns:
            (F', 3) triangles in the old vertex numbers.
        """
        left = sum(bool(around) for around in self.around)
        queue = [entry for vertex in range(len(self.around)) for entry in self._candidates(vertex)]
        heapq.heapify(queue)
        while left > count and queue:
            _, removed, kept, stamp = heapq.heappop(queue)
            if stamp != self.stamp[removed] or not self.around[kept] or not self._is_allowed(removed, kept):
                continue
            touched = self._neighbours(removed)
            self._collapse(removed, kept)
            left -= 1
            for vertex in touched:
                self.stamp[vertex] += 1
                for entry in self._candidates(vertex):
                    heapq.heappush(queue, entry)
        return np.array([self.triangles[t] for t in self.alive], np.intp)

    def _collapse(self, removed: int, kept: int) -> None:
        self.stamp[removed] += 1
        self.quadrics[kept] += self.quadrics[removed]
        for t in list(self.around[removed]):
            corners = self.triangles[t]
            if kept in corners:
                del self.alive[t]
                for vertex in corners:
                    del self.around[vertex][t]
            else:
                a, b, c = (kept if vertex == removed else vertex for vertex in corners)
                self.triangles[t] = (a, b, c)
                self.around[kept][t] = None
        self.around[removed].clear()
        if kept in self.border[removed]:
            for other in self.border[removed]:
                self.border[other].discard(removed)
                if other != kept:
                    self.border[other].add(kept)
                    self.border[kept].add(other)
            self.border[removed].clear()
