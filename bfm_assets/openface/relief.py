"""Small forms carved into the smooth skin: wings of the nose, nostrils, folds, and the relief of the outer ear."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bfm_assets.openface import mesh

Points = NDArray[np.float64]

NOSTRIL = mesh.unroll(np.array([7.4, -12.2, 118.0]))
"""Plane position of the nostril of x > 0."""
NOSTRIL_RADII = np.array([3.9, 2.3])
NOSTRIL_DEPTH = np.array([-0.3, 4.6, -2.2])

PUSHES = (
    ((16.3, -7.5, 110.5), 4.2, (1.2, 0.0, 0.5)),
    ((14.6, 2.8, 113.5), 3.0, (-1.5, 0.2, -1.3)),
    ((20.5, -5.0, 103.5), 3.2, (-0.9, 0.0, -1.3)),
    ((19.0, -13.5, 104.0), 3.0, (-0.3, 0.0, -1.0)),
    ((0.0, -23.0, 115.8), 2.8, (0.0, 0.0, -0.9)),
    ((5.0, -24.5, 116.2), 2.4, (0.0, 0.0, 0.7)),
    ((25.0, -20.0, 102.0), 5.0, (0.0, 0.0, -0.9)),
    ((32.0, -16.0, 99.0), 6.0, (0.2, 0.0, 0.8)),
    ((0.0, -54.0, 108.8), 5.0, (0.0, 0.0, -0.7)),
)
"""Around nose and mouth, centre, radius and move in mm: wings of the nose and the grooves behind them, philtrum, the
fold from nose to mouth, the furrow above the chin."""

EAR = np.array([10.0, 5.0])
"""Height y and depth z of the middle of the ear."""
EAR_RADII = np.array([30.0, 16.5])
EAR_TILT = np.radians(12)
_EAR_TURN = np.array([[np.cos(EAR_TILT), -np.sin(EAR_TILT)], [np.sin(EAR_TILT), np.cos(EAR_TILT)]])


def ear_loops() -> Points:
    """Plane points (N, 2) of the edge loops of the ear of x > 0."""
    loops = []
    for reach, count in ((0.25, 12), (0.45, 28), (0.65, 44), (0.82, 64), (0.97, 72), (1.15, 64)):
        even = np.arange(count) / count * 2 * np.pi
        turn = even + 0.2 * np.sin(2 * even)
        loop = reach * np.column_stack([np.cos(turn), np.sin(turn)])
        loops.append(loop[loop[:, 1] < 0.68])
    side = EAR + (np.concatenate(loops) * EAR_RADII) @ _EAR_TURN
    return mesh.unroll(np.column_stack([np.full(len(side), 74.5), side]))


def nostril_rings() -> Points:
    """Plane points (18, 2) of two loops around the nostril and its middle."""
    turn = np.arange(11) / 11 * 2 * np.pi
    loop = np.column_stack([np.cos(turn), np.sin(turn)]) * NOSTRIL_RADII
    small = np.arange(6) / 6 * 2 * np.pi
    inner = 0.5 * np.column_stack([np.cos(small), np.sin(small)]) * NOSTRIL_RADII
    return np.asarray(np.concatenate([loop, inner, [[0.0, 0.0]]]) + NOSTRIL)


def in_nostril(plane: Points) -> NDArray[np.float64]:
    """1 in the middle of a nostril, 0 at its edge, negative outside: (V,)."""
    folded = np.column_stack([np.abs(plane[:, 0]), plane[:, 1]])
    return np.asarray(1 - (((folded - NOSTRIL) / NOSTRIL_RADII) ** 2).sum(1))


def carve(points: Points, plane: Points) -> Points:
    """The skin of x >= 0, (V, 3) with plane positions (V, 2), with its small forms."""
    carved = points + np.clip(in_nostril(plane), 0, 1)[:, None] ** 0.7 * NOSTRIL_DEPTH
    for centre, radius, move in PUSHES:
        weight = np.exp(-((points - centre) ** 2).sum(1) / (2 * radius**2))
        carved += weight[:, None] * np.array(move)
    beside = points[:, 0] > 55
    carved[beside] += _ear(points[beside, 1:])
    return np.asarray(carved)


def _ear(side: Points) -> Points:
    """Displacement (N, 3) of the side of the head at (y, z) that raises an ear."""
    up, front = ((side - EAR) @ _EAR_TURN.T / EAR_RADII).T
    lobe = np.clip(-up, 0, 1)
    reach = np.hypot(up, front * (1 + 0.35 * lobe))
    plate = np.clip((0.75 - front) / 1.3, 0, 1) * np.clip((1.2 - reach) / 0.4, 0, 1)
    rim = np.exp(-(((reach - 0.86) / 0.13) ** 2)) * np.clip((0.8 - front) / 0.5, 0, 1) * (1 - 0.6 * lobe)
    bowl = np.exp(-(((up + 0.12) / 0.42) ** 2 + ((front - 0.12) / 0.42) ** 2))
    groove = np.exp(-(((reach - 0.66) / 0.12) ** 2)) * np.clip((0.4 - front) / 0.5, 0, 1) * np.clip(up + 0.5, 0, 1)
    tragus = np.exp(-((up + 0.15) ** 2 * 9 + (front - 0.75) ** 2 * 16))
    out = 12 * plate + 3.2 * rim - 8.0 * bowl * plate - 2.0 * groove * plate + 2.5 * tragus
    return np.column_stack([out, np.zeros_like(out), -0.45 * (11 * plate + 3 * rim)])
