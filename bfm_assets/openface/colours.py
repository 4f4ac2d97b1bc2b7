"""Base skin colours and region labels of the vertices."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bfm_assets.openface import mesh, relief, rings
from bfm_assets.openface.head import EYEBALL_RINGS, EYEBALL_SEGMENTS, Head

Floats = NDArray[np.float64]

REGIONS = ("skin", "lips", "brows", "lids", "sclera", "iris", "pupil", "mouth", "nostrils", "scalp")
COLOURS = {
    "skin": (222, 176, 150),
    "lips": (188, 112, 102),
    "brows": (92, 66, 52),
    "lids": (120, 78, 66),
    "sclera": (238, 234, 230),
    "iris": (96, 72, 48),
    "pupil": (16, 12, 12),
    "mouth": (92, 30, 32),
    "nostrils": (78, 36, 32),
    "scalp": (128, 98, 82),
}
BLUSH: tuple[tuple[tuple[float, float, float], float, float], ...] = (
    ((40, 0, 94), 16, 0.35),
    ((0, -4, 130), 10, 0.3),
    ((0, -68, 110), 13, 0.15),
    ((72, 20, 20), 16, 0.2),
)
"""Redder places: centre, radius in mm, strength."""


def _above_hairline(p: Floats) -> Floats:
    """1 well inside the hair, 0 on the face, smooth in between: (V,) of vertices (V, 3)."""
    hairline = np.interp(p[:, 2], [-30, -14, -9, 20, 30, 44, 58, 85], [0, 20, 48, 48, 54, 66, 88, 104])
    return np.clip((p[:, 1] - hairline) / 14 + 0.5, 0, 1)


def paint(head: Head) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """RGB (V, 3) and indices into `REGIONS` (V,) of all vertices."""
    p = head.vertices
    region = np.zeros(len(p), np.uint8)

    def name(at: NDArray[np.intp] | NDArray[np.bool_], label: str) -> None:
        region[at] = REGIONS.index(label)

    skin = ~np.isnan(head.plane[:, 0])
    hair = _above_hairline(p) * skin
    name(hair > 0.5, "scalp")
    folded = np.column_stack([np.abs(head.plane[:, 0]), head.plane[:, 1]])
    rows = head.plane[head.brows[0]]
    name(mesh.within(folded, np.concatenate([rows[0], rows[-1][::-1]])), "brows")
    name(head.brows, "brows")
    name(skin & (relief.in_nostril(head.plane) > 0.5), "nostrils")
    name(head.eyes[:, : rings.N_EYE_INNER + 1], "lids")
    name(head.mouth[:, : rings.N_MOUTH_INNER], "mouth")
    name(head.mouth[:, rings.N_MOUTH_INNER : rings.MOUTH_BORDER + 1], "lips")
    for ball in head.eyeballs:
        ring = np.concatenate([[0], 1 + np.arange(EYEBALL_RINGS * EYEBALL_SEGMENTS) // EYEBALL_SEGMENTS])
        name(ball, "sclera")
        name(ball[ring <= 3], "iris")
        name(ball[ring <= 1], "pupil")

    colour = np.array([COLOURS[r] for r in REGIONS], float)[region]
    soft = np.isin(region, (REGIONS.index("skin"), REGIONS.index("scalp")))
    blend = hair[soft, None]
    colour[soft] = blend * COLOURS["scalp"] + (1 - blend) * COLOURS["skin"]
    bare = region == 0
    for centre, radius, strength in BLUSH:
        folded = np.column_stack([np.abs(p[:, 0]), p[:, 1:]])
        weight = strength * np.exp(-((folded - centre) ** 2).sum(1) / (2 * radius**2)) * bare
        colour += weight[:, None] * (np.array([206, 120, 104]) - colour)
    dark = np.clip(0.5 + 2 * np.nan_to_num(relief.in_nostril(head.plane), nan=-1.0), 0, 1)[:, None]
    colour += dark * (np.array(COLOURS["nostrils"]) - colour)
    return np.clip(np.rint(colour), 0, 255).astype(np.uint8), region
