"""Flattening onto the disc."""

from __future__ import annotations

import numpy as np
import trimesh

from train.open_face.layout import flatten


def _cap(top: float) -> tuple[np.ndarray, np.ndarray]:
    """A sphere without what lies above a height."""
    ball = trimesh.creation.icosphere(3, 1.0)
    low = (ball.vertices[ball.faces, 2] < top).all(1)
    used, triangles = np.unique(ball.faces[low], return_inverse=True)
    return np.array(ball.vertices[used]), triangles.reshape(-1, 3)


def _areas(flat: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    a, b, c = (flat[triangles[:, i]] for i in range(3))
    return ((b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (b[:, 1] - a[:, 1]) * (c[:, 0] - a[:, 0])) / 2


def test_a_deep_cap_has_no_flipped_triangle_and_even_areas() -> None:
    vertices, triangles = _cap(0.8)
    centre = int(vertices[:, 2].argmin())
    flat = flatten(vertices, triangles, np.ones(len(vertices)), centre)
    areas = np.abs(_areas(flat, triangles))
    signs = np.sign(_areas(flat, triangles))
    assert (signs == signs[0]).all()
    assert np.linalg.norm(flat, axis=1).max() <= 1 + 1e-9
    assert np.linalg.norm(flat[centre]) < 0.05
    near = np.linalg.norm(flat[triangles].mean(1), axis=1) < 0.5
    assert 0.5 < areas[near].mean() / areas[~near].mean() < 2  # a conformal map would have 0.05


def test_zoom_enlarges() -> None:
    vertices, triangles = _cap(0.5)
    centre = int(vertices[:, 2].argmin())
    zoom = np.where(vertices[:, 2] < -0.7, 2.0, 1.0)
    radius = [np.linalg.norm(flatten(vertices, triangles, z, centre)[zoom > 1], axis=1).max() for z in (zoom**0, zoom)]
    assert radius[1] > 1.3 * radius[0]


def test_a_hole_is_closed() -> None:
    vertices, triangles = _cap(0.8)
    ring = triangles[~(vertices[triangles, 2] < -0.8).any(1)]
    used, ring = np.unique(ring, return_inverse=True)
    ring = ring.reshape(-1, 3)
    flat = flatten(vertices[used], ring, np.ones(len(used)))
    signs = np.sign(_areas(flat, ring))
    assert (signs == signs[0]).all()
