"""Simplification keeps the surface, its border and what is locked."""

from __future__ import annotations

import numpy as np
import trimesh

from train.open_face.decimate import Simplifier, border_edges


def _sheet(side: int) -> tuple[np.ndarray, np.ndarray]:
    """A flat square of (side + 1)^2 vertices."""
    x, y = np.meshgrid(np.arange(side + 1.0), np.arange(side + 1.0))
    vertices = np.stack([x.ravel(), y.ravel(), 0 * x.ravel()], 1)
    corner = (np.arange(side)[:, None] * (side + 1) + np.arange(side)).ravel()
    right, up = corner + 1, corner + side + 1
    return vertices, np.concatenate([np.stack([corner, right, up], 1), np.stack([right, up + 1, up], 1)])


def _simplify(poses: np.ndarray, triangles: np.ndarray, count: int, locked: np.ndarray | None = None) -> np.ndarray:
    n = poses.shape[1]
    locked = np.zeros(n, bool) if locked is None else locked
    return Simplifier(poses, triangles, locked, np.ones(n), 1e-3).run(count)


def test_sphere_stays_a_closed_sphere() -> None:
    ball = trimesh.creation.icosphere(4, 50.0)
    triangles = _simplify(np.array(ball.vertices)[None], np.array(ball.faces), 400)
    small = trimesh.Trimesh(ball.vertices, triangles)
    assert len(np.unique(triangles)) == 400
    assert small.is_watertight
    assert small.is_winding_consistent
    assert small.volume > 0.96 * ball.volume


def test_border_and_locked_vertices_stay() -> None:
    vertices, triangles = _sheet(12)
    locked = np.zeros(len(vertices), bool)
    locked[[40, 100]] = True
    few = _simplify(vertices[None], triangles, 30, locked)
    assert {40, 100} <= set(np.unique(few).tolist())
    rim = vertices[border_edges(few)]
    on_edge = (rim[..., :2] == 0) | (rim[..., :2] == 12)
    assert on_edge.any(-1).all()
    area = trimesh.Trimesh(vertices, few, process=False).area
    assert abs(area - 144) < 1e-9


def test_what_bends_in_a_pose_keeps_its_vertices() -> None:
    vertices, triangles = _sheet(16)
    bent = vertices.copy()
    bent[:, 2] = 3 * np.sin(vertices[:, 0]) * (vertices[:, 0] > 8)
    few = _simplify(np.stack([vertices, bent]), triangles, 110)
    x = vertices[np.unique(few), 0]
    assert (x > 8).sum() > 1.5 * (x < 8).sum()


def test_the_same_mesh_every_time() -> None:
    ball = trimesh.creation.icosphere(3, 50.0)
    first, second = (_simplify(np.array(ball.vertices)[None], np.array(ball.faces), 100) for _ in range(2))
    assert np.array_equal(first, second)
