"""The open face's own topology: a symmetric triangulation of some of ICT-FaceKit's vertices."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from train.open_face.arrays import Floats, Indices
from train.open_face.decimate import Simplifier, border_edges
from train.open_face.source import (
    EYE_SOCKETS,
    GUMS_AND_TONGUE,
    MOLARS,
    MOUTH_SOCKET,
    NARROW_FACE,
    SCLERAS,
    SKIN,
    TEETH_STARTS,
    Source,
    tooth,
)

NECK_HEIGHT_MM, NECK_SLOPE = -134.0, -0.3
"""The plane that ends the neck, y = height + slope * z: from below the throat up to the nape."""
EYEBALL_SEGMENTS, EYEBALL_STEP = 32, 2
"""Vertices on each of the rings that ICT-FaceKit's eyeballs consist of, and how many of them are one step here."""
EYEBALL_RINGS = (2, 3, 4, 6, 8, 9, 11, 13, 15, 17)
"""The rings around the pole, which is the middle of the cornea, that are kept. The eyeball's back is never seen."""
PUPIL_RINGS, IRIS_RINGS = 3, 8
"""The last ring of the pupil and of the iris. The cornea ends at ring 9, 7.05 mm from its axis."""
TOOTH_FRACTION = 0.55
"""Fraction of the height of a tooth that is kept, from its cutting edge. The root lies in the gums."""
POSES = ("jawOpen", "eyeBlinkLeft", "mouthSmileLeft", "mouthPucker", "browDownLeft")
"""Expressions in which the simplified surface has to stay close to the original one, next to the neutral face."""
LENGTH_WEIGHT = 2e-3
"""Weight that keeps edges short (see `Simplifier`); larger values give more even triangles."""
COUNTS = {"skin": 3750, "gums": 260, "tooth": 24}
"""Vertices of the left half that are kept, per part; a tooth is counted alone."""


@dataclass(frozen=True, eq=False)
class EdgePoints:
    """Points on the edges of ICT-FaceKit's mesh.

    Attributes:
        ends: (V, 2) ICT-FaceKit's vertices at the ends of the edge that each point lies on; equal for a vertex of
            ICT-FaceKit's.
        fraction: (V,) where on the edge, 0 at its first end.
    """

    ends: Indices
    fraction: Floats

    def sample(self, field: Floats) -> Floats:
        """Return values (..., V, 3) of a field (..., W, 3) that is known at ICT-FaceKit's vertices."""
        first, second = field[..., self.ends[:, 0], :], field[..., self.ends[:, 1], :]
        return np.asarray(first + self.fraction[:, None] * (second - first))


@dataclass(frozen=True, eq=False)
class Mesh(EdgePoints):
    """A symmetric mesh whose vertices are some of ICT-FaceKit's, and points on its edges where the neck is cut.

    The left half's vertices come first, then the mirrored ones of the right half.

    Attributes:
        rim_copy: (V,) the copies, for the linings of mouth and eye sockets, of the skin's vertices at their rims.
        mirror: (V,) index of each vertex's mirror image.
        triangles: (F, 3) counter-clockwise seen from outside.
        landmarks: (68,) vertex indices in iBUG order.
    """

    rim_copy: NDArray[np.bool_]
    mirror: Indices
    triangles: Indices
    landmarks: Indices

    def within(self, *ranges: range) -> NDArray[np.bool_]:
        """Return whether (V,) each vertex has a number in ICT-FaceKit within any of the ranges."""
        return np.any([(self.ends[:, 0] >= r.start) & (self.ends[:, 0] < r.stop) for r in ranges], 0)

    def is_lining(self) -> NDArray[np.bool_]:
        """(V,) vertices of the linings of mouth and eye sockets, their rims included."""
        return self.rim_copy | self.within(MOUTH_SOCKET, EYE_SOCKETS)


def build_mesh(source: Source) -> Mesh:
    """Cut, simplify and mirror ICT-FaceKit's left half (x >= 0)."""
    neutral = source.neutral
    left = source.triangles[(neutral[source.triangles, 0] >= 0).all(1)]
    skin, edges, fraction = cut(neutral, _among(left, SKIN, MOUTH_SOCKET, EYE_SOCKETS), NECK_HEIGHT_MM, NECK_SLOPE)
    own = np.arange(len(neutral))
    half = EdgePoints(
        np.concatenate([np.stack([own, own], 1), edges]), np.concatenate([np.zeros(len(neutral)), fraction])
    )
    triangles = np.concatenate(
        [
            _simplified(source, half, part, count)
            for part, count in [(skin, COUNTS["skin"]), *_inner_parts(neutral, left)]
        ]
        + [_eyeball(source)]
    )
    n_before = len(half.ends)
    half, triangles = _split_linings(half, triangles)
    kept, corners = np.unique(triangles, return_inverse=True)
    corners = corners.reshape(-1, 3)
    ends, fraction = half.ends[kept], half.fraction[kept]
    on_axis = (source.mirror[ends] == ends).all(1)
    opposite = np.arange(len(kept))
    opposite[~on_axis] = len(kept) + np.arange(int((~on_axis).sum()))
    ends = np.concatenate([ends, source.mirror[ends[~on_axis]]])
    number = np.full(len(neutral), -1, np.intp)
    # The copies of a vertex on a lining's rim come last: the landmarks are on the skin.
    number[ends[::-1, 0]] = np.arange(len(ends))[::-1]
    return Mesh(
        ends=ends,
        fraction=np.concatenate([fraction, fraction[~on_axis]]),
        rim_copy=np.concatenate([kept >= n_before, kept[~on_axis] >= n_before]),
        mirror=np.concatenate([opposite, np.flatnonzero(~on_axis)]),
        triangles=np.concatenate([corners, opposite[corners][:, ::-1]]),
        landmarks=number[source.landmarks],
    )


def eyeball_rings(source: Source, ball: range) -> Indices:
    """Return the rings of an eyeball of ICT-FaceKit, from the pole in the middle of the cornea to the back.

    Returns:
        (R, 32) vertices, in ICT-FaceKit's numbers. Vertices of one column lie on one meridian, and columns go
        counter-clockwise seen from the front.
    """
    triangles = _among(source.triangles, ball)
    number, reached = [np.array([_pole(source, ball)])], np.zeros(len(source.neutral), bool)
    reached[number[0]] = True
    while True:
        touched = np.unique(triangles[np.isin(triangles, number[-1]).any(1)])
        touched = touched[~reached[touched]]
        if len(touched) != EYEBALL_SEGMENTS:
            break
        reached[touched] = True
        number.append(touched)
    rings = []
    for ring in number[1:]:
        offset = source.neutral[ring] - source.neutral[ring].mean(0)
        meridian = np.rint(np.arctan2(offset[:, 1], offset[:, 0]) * (EYEBALL_SEGMENTS / (2 * np.pi)))
        rings.append(ring[np.argsort(meridian % EYEBALL_SEGMENTS, kind="stable")])
    return np.stack(rings)


def _pole(source: Source, ball: range) -> int:
    """Return the vertex of an eyeball where its 32 meridians meet in front."""
    triangles = _among(source.triangles, ball)
    degree = np.bincount(triangles.ravel(), minlength=len(source.neutral))
    poles = np.flatnonzero(degree == EYEBALL_SEGMENTS)
    return int(poles[np.argmax(source.neutral[poles, 2])])


def _eyeball(source: Source) -> Indices:
    """Return the triangles of the front of the left eyeball, in ICT-FaceKit's vertex numbers."""
    rings = eyeball_rings(source, SCLERAS[0])[np.array(EYEBALL_RINGS) - 1, ::EYEBALL_STEP]
    first = rings[0]
    found = [np.stack([np.full(len(first), _pole(source, SCLERAS[0])), first, np.roll(first, -1)], 1)]
    for inner, outer in pairwise(rings):
        found.append(np.stack([inner, outer, np.roll(outer, -1)], 1))
        found.append(np.stack([inner, np.roll(outer, -1), np.roll(inner, -1)], 1))
    return np.concatenate(found)


def _split_linings(half: EdgePoints, triangles: Indices) -> tuple[EdgePoints, Indices]:
    """Give the linings of mouth and eye socket rim vertices of their own, so that they can be textured apart."""
    first = half.ends[:, 0]
    in_lining = (first >= MOUTH_SOCKET.start) & (first < EYE_SOCKETS.stop)
    lining = in_lining[triangles].any(1)
    rim = np.unique(triangles[lining][~in_lining[triangles[lining]]])
    copy = np.arange(len(first))
    copy[rim] = len(first) + np.arange(len(rim))
    split = EdgePoints(np.concatenate([half.ends, half.ends[rim]]), np.concatenate([half.fraction, half.fraction[rim]]))
    return split, np.concatenate([triangles[~lining], copy[triangles[lining]]])


def cut(vertices: Floats, triangles: Indices, height: float, slope: float) -> tuple[Indices, Indices, Floats]:
    """Cut a mesh by the plane y = height + slope * z and keep what lies above.

    Returns:
        triangles (F', 3), whose indices from len(vertices) on count the new points; the ends (N, 2) of the edges that
        these lie on; and where on the edge they lie (N,).
    """
    above = vertices[:, 1] - (height + slope * vertices[:, 2])
    points: dict[tuple[int, int], int] = {}
    kept: list[tuple[int, int, int]] = []

    def crossing(a: int, b: int) -> int:
        return points.setdefault((min(a, b), max(a, b)), len(vertices) + len(points))

    for corners in triangles.tolist():
        count = sum(above[v] > 0 for v in corners)
        if count == 0:
            continue
        # Start at the corner that is alone on its side of the plane.
        start = next(i for i in range(3) if count == 3 or (above[corners[i]] > 0) == (count == 1))
        a, b, c = (corners[(start + i) % 3] for i in range(3))
        if count == 3:
            kept.append((a, b, c))
        elif count == 1:
            kept.append((a, crossing(a, b), crossing(a, c)))
        else:
            kept += [(b, c, crossing(a, b)), (c, crossing(a, c), crossing(a, b))]
    ends = np.array(list(points), np.intp).reshape(-1, 2)
    first, second = above[ends[:, 0]], above[ends[:, 1]]
    return np.array(kept, np.intp), ends, first / (first - second)


def _inner_parts(neutral: Floats, left: Indices) -> list[tuple[Indices, int]]:
    """Return the triangles of gums and teeth of the left half, and how many vertices to keep of each."""
    found = [(_among(left, GUMS_AND_TONGUE), COUNTS["gums"])]
    for index in range(len(TEETH_STARTS)):
        triangles = _among(left, tooth(index))
        if index in MOLARS or not len(triangles):
            continue
        height = neutral[np.unique(triangles), 1]
        low, high = height.min(), height.max()
        is_upper = index < len(TEETH_STARTS) // 2
        crown = neutral[triangles, 1] < low + TOOTH_FRACTION * (high - low)
        if not is_upper:
            crown = neutral[triangles, 1] > high - TOOTH_FRACTION * (high - low)
        found.append((triangles[crown.all(1)], COUNTS["tooth"]))
    return found


def _among(triangles: Indices, *ranges: range) -> Indices:
    """Return the triangles whose corners all lie within the ranges of vertices."""
    inside = np.zeros(int(triangles.max()) + 1, bool)
    for part in ranges:
        inside[part.start : part.stop] = True
    return triangles[inside[triangles].all(1)]


def _simplified(source: Source, half: EdgePoints, triangles: Indices, count: int) -> Indices:
    """Return the triangles of a simplified part of the left half, in the half's numbers."""
    used, corners = np.unique(triangles, return_inverse=True)
    corners = corners.reshape(-1, 3)
    part = EdgePoints(half.ends[used], half.fraction[used])
    neutral = part.sample(source.neutral)
    poses = np.stack([neutral, *(neutral + part.sample(source.expressions[name]) for name in POSES)])
    on_axis = (source.mirror[part.ends] == part.ends).all(1)
    border = border_edges(corners)
    on_rim = np.zeros(len(used), bool)
    on_rim[border[~on_axis[border].all(1)]] = True
    locked = np.isin(used, source.landmarks) | (on_axis & on_rim)
    detail = np.where(used < NARROW_FACE.stop, 1.0, np.where(used < SKIN.stop, 0.25, 0.05))
    return used[Simplifier(poses, corners, locked, detail, LENGTH_WEIGHT).run(count)]
