"""Base skin colours and region labels of the vertices."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bfm_assets.openface import controls, rings
from bfm_assets.openface.head import EYEBALL_RINGS, EYEBALL_SEGMENTS, Head

Floats = NDArray[np.float64]

REGIONS = ("skin", "lips", "brows", "lids", "sclera", "iris", "pupil", "mouth", "nostrils")
COLOURS = {
    "skin": (222, 176, 150),
    "lips": (190, 104, 98),
    "brows": (92, 66, 52),
    "lids": (120, 78, 66),
    "sclera": (238, 234, 230),
    "iris": (96, 72, 48),
    "pupil": (16, 12, 12),
    "mouth": (112, 42, 42),
    "nostrils": (96, 50, 44),
}
BLUSH: tuple[tuple[tuple[float, float, float], float, float], ...] = (
    ((40, 0, 94), 16, 0.35),
    ((0, -4, 130), 10, 0.3),
    ((0, -68, 110), 13, 0.15),
    ((72, 20, 20), 16, 0.2),
)
"""Redder places: centre, radius in mm, strength."""
BROW_WIDTH = 3.6


def _distance_to_brow(points: Floats) -> Floats:
    """Distance (V,) in the image plane to the line through the brow's landmarks, a little below it."""
    brow = np.array([controls.LANDMARKS[k] for k in range(22, 27)])[:, :2] - [0, 1.2]
    p = np.column_stack([np.abs(points[:, 0]), points[:, 1]])
    best = np.full(len(p), np.inf)
    for a, b in zip(brow[:-1], brow[1:], strict=True):
        t = np.clip(((p - a) @ (b - a)) / ((b - a) @ (b - a)), 0, 1)
        best = np.minimum(best, np.linalg.norm(p - a - t[:, None] * (b - a), axis=1))
    return best


def paint(head: Head) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """RGB (V, 3) and indices into `REGIONS` (V,) of all vertices."""
    p = head.vertices
    region = np.zeros(len(p), np.uint8)

    def name(at: NDArray[np.intp] | NDArray[np.bool_], label: str) -> None:
        region[at] = REGIONS.index(label)

    front = (p[:, 2] > 70) & ~np.isnan(head.plane[:, 0])
    name(front & (_distance_to_brow(p) < BROW_WIDTH), "brows")
    name(head.eyes[:, : rings.N_EYE_INNER + 1], "lids")
    name(head.mouth[:, : rings.N_MOUTH_INNER], "mouth")
    name(head.mouth[:, rings.N_MOUTH_INNER : rings.MOUTH_BORDER + 1], "lips")
    for ball in head.eyeballs:
        ring = np.concatenate([[0], 1 + np.arange(EYEBALL_RINGS * EYEBALL_SEGMENTS) // EYEBALL_SEGMENTS])
        name(ball, "sclera")
        name(ball[ring <= 3], "iris")
        name(ball[ring <= 1], "pupil")

    colour = np.array([COLOURS[r] for r in REGIONS], float)[region]
    skin = region == 0
    for centre, radius, strength in BLUSH:
        folded = np.column_stack([np.abs(p[:, 0]), p[:, 1:]])
        weight = strength * np.exp(-((folded - centre) ** 2).sum(1) / (2 * radius**2)) * skin
        colour += weight[:, None] * (np.array([206, 120, 104]) - colour)
    return np.clip(np.rint(colour), 0, 255).astype(np.uint8), region
