"""Regions of the head and the mask of the face.

Borders of regions follow ICT-FaceKit's landmarks and part numbers; the hairline and the blush are drawn.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from train.open_face.arrays import Floats
from train.open_face.exact import dot, length
from train.open_face.mesh import IRIS_RINGS, PUPIL_RINGS, Mesh, eyeball_rings
from train.open_face.source import (
    FULL_FACE,
    GUMS_AND_TONGUE,
    NARROW_FACE,
    SCLERAS,
    SKIN,
    TEETH_END,
    TEETH_STARTS,
    Source,
)

REGIONS = (
    "skin", "blush", "lips", "brows", "lids", "hair", "sclera", "iris", "pupil", "eye lining", "mouth", "gums", "teeth",
)  # fmt: skip

BROW_HALF_WIDTH_MM = (0.5, 3.4, 3.8, 3.4, 1.6)
"""Half the height of the brow at its five landmarks, from the nose outwards."""
BROW_SHIFT_MM = -1.0
LASH_WIDTH_MM = 1.0
BROW_BLEND_MM, LIP_BLEND_MM, LASH_BLEND_MM, HAIR_BLEND_MM = 1.6, 1.2, 0.8, 8.0
"""Within so many millimetres of a region's border, one region passes into the other."""
HAIRLINE = (
    (-110.0, -50.0), (-62.0, -40.0), (-44.0, -28.0), (-36.0, -8.0), (-26.0, 22.0), (-14.0, 42.0), (16.0, 44.0),
    (28.0, 40.0), (36.0, 44.0), (46.0, 60.0), (62.0, 78.0), (72.0, 92.0), (86.0, 104.0), (130.0, 108.0),
)  # fmt: skip
"""The lowest y of hair for each z: nape, behind the ear, above the ear, sideburn, temple, forehead."""
BLUSH = (((42.0, -2.0, 90.0), 17.0, 0.3), ((0.0, -4.0, 130.0), 11.0, 0.25), ((76.0, 10.0, 2.0), 24.0, 0.25))
"""Redder places of the left half: centre, radius in mm, strength."""


def region_weights(source: Source, mesh: Mesh) -> NDArray[np.uint8]:
    """Say how much each vertex belongs to each of the `REGIONS`.

    Returns:
        (V, R) weights that sum to 255 at every vertex.
    """
    points = mesh.sample(source.neutral)
    folded = np.stack([np.abs(points[:, 0]), points[:, 1], points[:, 2]], 1)
    landmarks = points[mesh.landmarks]
    weight = np.zeros((len(points), len(REGIONS)))
    weight[:, 0] = 1

    def lay(name: str, fraction: Floats | float, where: NDArray[np.bool_]) -> None:
        """Give a fraction of some vertices to a region, and reduce their other regions."""
        covered = np.where(where, fraction, 0.0)[:, None]
        weight[:] = weight * (1 - covered)
        weight[:, REGIONS.index(name)] += covered[:, 0]

    on_skin, in_face = mesh.within(SKIN), mesh.within(NARROW_FACE)
    for centre, radius, strength in BLUSH:
        offset = folded - centre
        lay("blush", strength * np.maximum(1 - dot(offset, offset) / (4 * radius * radius), 0) ** 2, on_skin)
    lay("hair", _hair(folded, mesh), on_skin)
    lay("brows", _brow(folded, landmarks), in_face)
    lay("lips", _lips(folded, landmarks), in_face)
    eye = landmarks[[42, 43, 44, 45, 46, 47, 42]]
    lay("lids", _soft(LASH_WIDTH_MM - _distance_to_path(folded, eye)[0], LASH_BLEND_MM), in_face)
    is_lining = mesh.is_lining()
    lay("eye lining", 1.0, is_lining & (folded[:, 1] > landmarks[30, 1]))
    lay("mouth", 1.0, is_lining & (folded[:, 1] <= landmarks[30, 1]))
    lay("gums", 1.0, mesh.within(GUMS_AND_TONGUE))
    lay("teeth", 1.0, mesh.within(range(TEETH_STARTS[0], TEETH_END)))
    for ball in SCLERAS:
        own = mesh.within(ball)
        rings = eyeball_rings(source, ball)
        lay("sclera", 1.0, own)
        lay("iris", 1.0, own & ~np.isin(mesh.ends[:, 0], rings[IRIS_RINGS:]))
        lay("pupil", 1.0, own & ~np.isin(mesh.ends[:, 0], rings[PUPIL_RINGS:]))
    whole = np.floor(weight * 255)
    whole[np.arange(len(whole)), weight.argmax(1)] += 255 - whole.sum(1)
    return whole.astype(np.uint8)[_left_of(mesh)]


def face_mask(mesh: Mesh) -> NDArray[np.bool_]:
    """Return the vertices (V,) of the face, forehead to chin, with eyeballs, without ears, neck and mouth."""
    mask = (mesh.within(NARROW_FACE) & ~mesh.is_lining()) | mesh.within(*SCLERAS)
    return np.asarray(mask[_left_of(mesh)])


def _left_of(mesh: Mesh) -> NDArray[np.intp]:
    """Return the vertex of the left half that corresponds to each vertex (V,)."""
    return np.minimum(np.arange(len(mesh.mirror)), mesh.mirror)


def _soft(inside_mm: Floats, blend_mm: float) -> Floats:
    """Return a weight that rises from 0 to 1 around a border, from the distance (V,) inside it, negative outside."""
    return np.asarray(np.clip(0.5 + inside_mm / (2 * blend_mm), 0, 1))


def _hair(folded: Floats, mesh: Mesh) -> Floats:
    """Return weights (V,) of what lies above the hairline, without the ears."""
    z, y = np.array(HAIRLINE).T
    is_ear = mesh.within(FULL_FACE) & (folded[:, 0] > 70) & (folded[:, 1] < 42)
    return np.where(is_ear, 0.0, _soft(folded[:, 1] - np.interp(folded[:, 2], z, y), HAIR_BLEND_MM))


def _brow(folded: Floats, landmarks: Floats) -> Floats:
    """Return weights (V,) of the band around the brow's landmarks."""
    distance, along = _distance_to_path(folded, landmarks[22:27] + [0.0, BROW_SHIFT_MM, 0.0])
    return _soft(np.interp(along, np.arange(5), BROW_HALF_WIDTH_MM) - distance, BROW_BLEND_MM)


def _lips(folded: Floats, landmarks: Floats) -> Floats:
    """Return weights (V,) of what lies inside the outer border of the lips, seen from the front."""
    half = _smooth(landmarks[51:58, :2])
    border = np.concatenate([half, half[::-1] * [-1, 1]])
    flat = np.stack([folded[:, 0], folded[:, 1], np.zeros(len(folded))], 1)
    path = np.concatenate([border, np.zeros((len(border), 1))], 1)
    distance = _distance_to_path(flat, path)[0]
    inside = np.where(_inside(folded[:, :2], border), distance, -distance)
    return np.where(folded[:, 2] > landmarks[54, 2] - 6, _soft(inside, LIP_BLEND_MM), 0.0)


def _smooth(path: Floats) -> Floats:
    """Return the Catmull-Rom curve through the points (N, 2) of a path, eight steps to a segment."""
    padded = np.concatenate([[path[0] * [-1, 1]], path, [path[-1] * [-1, 1]]])
    t = np.arange(8)[:, None] / 8
    pieces = []
    for a, b, c, d in zip(padded, padded[1:], padded[2:], padded[3:], strict=False):
        pieces.append(
            b + t * (c - a) / 2 + t**2 * (a - 2.5 * b + 2 * c - d / 2) + t**3 * (1.5 * b - a / 2 - 1.5 * c + d / 2)
        )
    return np.concatenate([*pieces, path[-1:]])


def _inside(points: Floats, polygon: Floats) -> NDArray[np.bool_]:
    """Return whether points (V, 2) lie inside a polygon (N, 2): an odd number of its edges lies to their right."""
    inside = np.zeros(len(points), bool)
    for (ax, ay), (bx, by) in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        if ay == by:
            continue
        spans = (ay > points[:, 1]) != (by > points[:, 1])
        inside ^= spans & (points[:, 0] < ax + (points[:, 1] - ay) / (by - ay) * (bx - ax))
    return inside


def _distance_to_path(points: Floats, path: Floats) -> tuple[Floats, Floats]:
    """Return the distance (V,) of points (V, 3) to a path (N, 3), and the nearest place on it in steps (V,)."""
    best, along = np.full(len(points), np.inf), np.zeros(len(points))
    for i in range(len(path) - 1):
        step = path[i + 1] - path[i]
        offset = points - path[i]
        fraction = np.clip(dot(offset, step) / max(float((step**2).sum()), 1e-12), 0, 1)
        distance = length(offset - fraction[:, None] * step)
        nearer = distance < best
        best, along = np.where(nearer, distance, best), np.where(nearer, i + fraction, along)
    return best, along
