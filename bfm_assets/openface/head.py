"""The mean face: mesh, landmarks and the index sets that deformations and colours refer to."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator, RBFInterpolator

from bfm_assets.openface import controls, mesh, relief, rings

Points = NDArray[np.float64]
Indices = NDArray[np.intp]

FINEST, COARSE = 1.8, 7.5
"""Edge lengths in the plane, at the features and far from them, in millimetres."""
DRAWN_SMOOTHING = 25.0
"""How freely the surface may pass beside a control point drawn by hand, in the thin-plate spline's units."""
LID_CREASE = 1.0
"""Depth of the crease of the upper lid, in mm."""
IN_RINGS = (*range(42, 48), *range(51, 58), *range(62, 67))
"""Landmarks of x >= 0 that lie on an edge loop."""
FINE = ((5.0, -1, 129), (17, -6, 110), (14, 1, 114), (18, -12, 105))
"""Places of fine detail beside the edge loops and landmarks: the tip and the wings of the nose."""
MIRRORED = np.array([-1.0, 1.0, 1.0])
EYEBALL_RINGS, EYEBALL_SEGMENTS = 9, 24
EYEBALL_HALF_ANGLE = np.radians(105)


@dataclass(frozen=True)
class Head:
    """A symmetric face mesh and what is where in it.

    Attributes:
        vertices: (V, 3) mm; skin first, then the eyeballs.
        triangles: (F, 3) counter-clockwise seen from outside.
        landmarks: (68,) vertex indices.
        mirror: (V,) index of each vertex's mirror image.
        plane: (V, 2) layout of the skin in the plane; NaN for the eyeballs.
        eyes: (2, 6, 24) vertex indices of the eye rings of x > 0 and of x < 0, see `rings.eye_rings`.
        mouth: (2, 11, 25) vertex indices of the half mouth rings, see `rings.mouth_rings`.
        eyeballs: (2, B) vertex indices of the eyeballs, pole first, then ring by ring.
        brows: (2, 3, 29) vertex indices of the rows of the brows, see `rings.brow_rows`.
        border: (K,) vertex indices of the mesh's outer border.
    """

    vertices: Points
    triangles: Indices
    landmarks: Indices
    mirror: Indices
    plane: Points
    eyes: Indices
    mouth: Indices
    eyeballs: Indices
    brows: Indices
    border: Indices


def _skin() -> RBFInterpolator:
    """The smooth surface: plane coordinates (N, 2) to points (N, 3), a thin-plate spline through the controls."""
    lm = controls.landmarks68()[list(controls.LANDMARKS)]
    eye, mouth = rings.eye_rings()[rings.N_EYE_INNER :], rings.mouth_rings()[rings.N_MOUTH_INNER :]
    looped = [r.reshape(-1, 3)[~np.isnan(r.reshape(-1, 3)[:, 2])] for r in (eye, mouth)]
    exact = np.concatenate([lm, *looped])
    drawn = np.array([*controls.MIDLINE, *controls.SIDE])
    points = np.concatenate([exact, drawn])
    weight = np.concatenate([np.zeros(len(exact)), np.full(len(drawn), DRAWN_SMOOTHING)])
    both = np.concatenate([points, (points * [-1, 1, 1])[points[:, 0] > 1e-9]])
    smoothing = np.concatenate([weight, weight[points[:, 0] > 1e-9]])
    plane = mesh.unroll(both)
    _, first = np.unique(np.round(plane, 3), axis=0, return_index=True)
    first.sort()
    return RBFInterpolator(plane[first], both[first], kernel="thin_plate_spline", smoothing=smoothing[first])


def _depth() -> RBFInterpolator:
    """A first guess of z at frontal positions (N, 2), to find the plane coordinates of points on the skin."""
    front = np.array([*controls.LANDMARKS.values(), *controls.MIDLINE, *controls.SIDE])
    front = controls.mirrored(front[(front[:, 2] > 60) & (front[:, 1] > -80)])
    return RBFInterpolator(front[:, :2], front[:, 2:], kernel="thin_plate_spline", smoothing=1.0)


def _spread_evenly(plane: Points, space: Points, first: int, last: int) -> None:
    """Lay the rings between two given ones out between them, in proportion to their mean distances in space."""
    steps = np.linalg.norm(np.diff(space[first : last + 1], axis=0), axis=2).mean(1)
    share = np.cumsum(steps) / steps.sum()
    for k in range(first + 1, last):
        plane[k] = plane[first] + share[k - first - 1] * (plane[last] - plane[first])


def _midline(skip: tuple[float, float], fine: Points) -> Points:
    """Plane points (N, 2) on the axis of symmetry, at the landmarks and in between, outside the skipped heights."""
    ends = mesh.unroll(np.array(controls.BOUNDARY)[[0, -1]])[:, 1]
    marked = [mesh.unroll(np.array(controls.LANDMARKS[k]))[1] for k in (27, 28, 29, 30, 33, 8)]
    knots = np.array(sorted([*ends, *marked, *skip]))
    heights = list(knots)
    for low, high in pairwise(knots):
        if low >= skip[0] - 1e-9 and high <= skip[1] + 1e-9:
            continue
        dense = np.linspace(low, high, 400)
        wanted = mesh.spacing(np.column_stack([0 * dense, dense]), fine, COARSE, FINEST)
        count = np.concatenate([[0], np.cumsum(np.diff(dense) / wanted[1:])])
        parts = max(1, round(count[-1]))
        heights += list(np.interp(np.arange(1, parts) / parts * count[-1], count, dense))
    return np.column_stack([np.zeros(len(heights)), sorted(heights)])


def _border() -> Points:
    """Plane points (N, 2) along the mesh's border, its two ends on the axis of symmetry included."""
    corners = mesh.unroll(np.array(controls.BOUNDARY))
    along = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(corners, axis=0), axis=1))])
    curve = PchipInterpolator(along, corners)
    return np.asarray(curve(np.linspace(0, along[-1], round(along[-1] / COARSE) + 1)))


def _eyeball() -> tuple[Points, Indices]:
    """A cap of a sphere around z, vertices (B, 3) and triangles, pole first and ring by ring."""
    polar = EYEBALL_HALF_ANGLE * (np.arange(1, EYEBALL_RINGS + 1) / EYEBALL_RINGS) ** 1.15
    turn = np.arange(EYEBALL_SEGMENTS) / EYEBALL_SEGMENTS * 2 * np.pi
    ring = np.stack(
        [
            np.outer(np.sin(polar), np.cos(turn)),
            np.outer(np.sin(polar), np.sin(turn)),
            np.outer(np.cos(polar), np.ones_like(turn)),
        ],
        -1,
    )
    vertices = np.concatenate([[[0, 0, 1]], ring.reshape(-1, 3)]) * controls.EYE_RADIUS
    index = 1 + np.arange(EYEBALL_RINGS * EYEBALL_SEGMENTS).reshape(EYEBALL_RINGS, -1)
    after = np.roll(index[0], -1)
    triangles = [np.column_stack([np.zeros_like(after), index[0], after])]
    triangles += [mesh.strip(a, b, closed=True) for a, b in pairwise(index)]
    return vertices, np.concatenate(triangles)


@dataclass(frozen=True)
class _Half:
    """The skin of x >= 0: vertices (N, 3), plane (N, 2), triangles, and the vertex indices of its features."""

    vertices: Points
    plane: Points
    triangles: Indices
    eye: Indices
    mouth: Indices
    brow: Indices
    border: Indices


def _on_skin(flat: Points, depth: RBFInterpolator) -> Points:
    """Points (..., 3) with each unknown z, given as NaN, guessed from the control points around."""
    points = flat.copy()
    unknown = np.isnan(points[..., 2])
    points[unknown, 2] = depth(points[unknown, :2])[:, 0]
    return points


def _half() -> _Half:
    """Lay out and lift the skin of x >= 0."""
    depth = _depth()
    eye, mouth = _on_skin(rings.eye_rings(), depth), _on_skin(rings.mouth_rings(), depth)
    mouth[:, [0, -1], 0] = 0
    eye_plane, mouth_plane = mesh.unroll(eye), mesh.unroll(mouth)
    _spread_evenly(eye_plane, eye, rings.N_EYE_INNER, len(eye) - 1)
    _spread_evenly(mouth_plane, mouth, rings.N_MOUTH_INNER, rings.MOUTH_BORDER)
    _spread_evenly(mouth_plane, mouth, rings.MOUTH_BORDER, len(mouth) - 1)
    brow = rings.brow_rows().reshape(-1, 2)
    brow_plane = mesh.unroll(np.column_stack([brow, depth(brow)]))
    brow_plane[rings.BROW_STEPS] = mesh.unroll(np.array([controls.LANDMARKS[k] for k in range(22, 27)]))
    nostril, ear, border = relief.nostril_rings(), relief.ear_loops(), _border()

    # the plane mesh around the eye and the mouth
    lone = [k for k in controls.LANDMARKS if k not in IN_RINGS]
    lone_plane = mesh.unroll(np.array([controls.LANDMARKS[k] for k in lone]))
    nose = mesh.unroll(np.array([controls.LANDMARKS[k] for k in (29, 30, 33, 34, 35)]))
    fine = np.concatenate([eye_plane[-1], mouth_plane[-1], nose, mesh.unroll(np.array(FINE)), nostril, brow_plane])
    outer_mouth = mouth_plane[-1]
    midline = _midline((outer_mouth[-1, 1], outer_mouth[0, 1]), fine)
    fixed = [eye_plane[-1], outer_mouth, midline, lone_plane[lone_plane[:, 0] > 0], brow_plane, nostril, ear]
    fixed_points = np.concatenate([*fixed, border[1:-1]])
    _, first = np.unique(np.round(fixed_points, 6), axis=0, return_index=True)
    mouth_hole = np.concatenate([outer_mouth, [[-5, outer_mouth[-1, 1]], [-5, outer_mouth[0, 1]]]])
    layout = mesh.fill(fixed_points[np.sort(first)], border, [eye_plane[-1], mouth_hole], fine, COARSE, FINEST)

    # inside it, the rings: the outermost of each are the first points of the layout
    plane = np.concatenate([layout.points, eye_plane[:-1].reshape(-1, 2), mouth_plane[:-1].reshape(-1, 2)])
    n_eye, n_mouth = eye.shape[1], mouth.shape[1]
    eye_inside = len(layout.points) + np.arange(eye_plane[:-1].size // 2)
    mouth_inside = eye_inside[-1] + 1 + np.arange(mouth_plane[:-1].size // 2)
    eye_index = np.concatenate([eye_inside, np.arange(n_eye)]).reshape(-1, n_eye)
    mouth_index = np.concatenate([mouth_inside, n_eye + np.arange(n_mouth)]).reshape(-1, n_mouth)
    back = mouth_index[0]
    triangles = [layout.triangles]
    triangles += [mesh.strip(b, a, closed=True) for a, b in pairwise(eye_index)]
    triangles += [mesh.strip(b, a, closed=False) for a, b in pairwise(mouth_index)]
    triangles += [mesh.strip(back[: rings.CORNER], back[: rings.CORNER : -1], closed=False)]
    triangles += [back[[[rings.CORNER - 1, rings.CORNER + 1, rings.CORNER]]]]

    vertices = relief.carve(_skin()(plane), plane)
    drawn_eye, drawn_mouth = slice(rings.N_EYE_INNER + 1), slice(rings.MOUTH_BORDER + 1)
    vertices[eye_index[drawn_eye]] = eye[drawn_eye]
    vertices[eye_index[4, 2 : rings.EYE_STEPS - 1], 2] -= LID_CREASE
    vertices[mouth_index[drawn_mouth]] = mouth[drawn_mouth]
    return _Half(
        vertices=vertices,
        plane=plane,
        triangles=np.concatenate(triangles),
        eye=eye_index,
        mouth=mouth_index,
        brow=_nearest(plane, brow_plane).reshape(3, -1),
        border=_nearest(plane, border),
    )


def _nearest(plane: Points, wanted: Points) -> Indices:
    """The index of the point (N, 2) nearest to each wanted one (K, 2): (K,)."""
    return np.array([np.linalg.norm(plane - p, axis=1).argmin() for p in wanted])


def build() -> Head:
    """Make the skin of x >= 0, mirror it, add the eyeballs."""
    half = _half()
    on_axis = np.abs(half.plane[:, 0]) < 1e-6
    half.vertices[on_axis, 0] = half.plane[on_axis, 0] = 0
    n_half, n_skin = len(half.plane), len(half.plane) + int((~on_axis).sum())
    other = np.arange(n_half)
    other[~on_axis] = np.arange(n_half, n_skin)

    ball, ball_triangles = _eyeball()
    centred = ball + controls.EYE_CENTRE
    right = n_skin + np.arange(len(ball))
    left = right + len(ball)
    triangles = [half.triangles, other[half.triangles][:, ::-1]]
    triangles += [ball_triangles + right[0], ball_triangles[:, ::-1] + left[0]]

    landmarks = np.empty(68, np.intp)
    index = list(controls.LANDMARKS)
    at = _nearest(half.plane, mesh.unroll(np.array(list(controls.LANDMARKS.values()))))
    landmarks[controls.MIRROR_68[index]] = other[at]
    landmarks[index] = at
    return Head(
        vertices=np.concatenate([half.vertices, half.vertices[~on_axis] * MIRRORED, centred, centred * MIRRORED]),
        triangles=np.concatenate(triangles),
        landmarks=landmarks,
        mirror=np.concatenate([other, np.flatnonzero(~on_axis), left, right]),
        plane=np.concatenate([half.plane, half.plane[~on_axis] * [-1, 1], np.full((2 * len(ball), 2), np.nan)]),
        eyes=np.stack([half.eye, other[half.eye]]),
        mouth=np.stack([half.mouth, other[half.mouth]]),
        eyeballs=np.stack([right, left]),
        brows=np.stack([half.brow, other[half.brow]]),
        border=np.unique(np.concatenate([half.border, other[half.border]])),
    )
