"""Texture layout: the plane layout with the mouth pulled open for its lining, the eyeballs beside it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bfm_assets.openface import rings
from bfm_assets.openface.head import EYEBALL_RINGS, EYEBALL_SEGMENTS, Head

Floats = NDArray[np.float64]

MOUTH_OPENING = 7.0
"""Half the height, in mm of the plane, that the mouth is opened in the texture."""
EYEBALL_AT = (0.10, 0.10)
"""Centre of the texture of the eyeball of x < 0; the other lies opposite."""
EYEBALL_SIZE = 0.07
MARGIN = 0.01


def layout(head: Head) -> NDArray[np.float32]:
    """Texture coordinates (V, 2) in [0, 1], v up."""
    plane = head.plane.copy()
    inner = head.mouth[0, rings.N_MOUTH_INNER]
    half = inner[: rings.CORNER + 1], inner[rings.CORNER :][::-1]
    x_mean = (plane[half[0], 0] + plane[half[1], 0]) / 2
    y_mean = (plane[half[0], 1] + plane[half[1], 1]) / 2
    slit = np.interp(np.abs(plane[:, 0]), x_mean, y_mean)
    opening = (MOUTH_OPENING * np.clip(1 - (plane[:, 0] / x_mean[-1]) ** 2, 0, None)) ** 2
    above = plane[:, 1] - slit
    plane[:, 1] = slit + np.sign(above) * np.sqrt(above**2 + opening)
    rim, border = plane[head.mouth[:, rings.N_MOUTH_INNER]], plane[head.mouth[:, rings.MOUTH_BORDER]]
    for k in range(rings.N_MOUTH_INNER + 1, rings.MOUTH_BORDER):
        share = (k - rings.N_MOUTH_INNER) / (rings.MOUTH_BORDER - rings.N_MOUTH_INNER)
        plane[head.mouth[:, k]] = rim + share * (border - rim)
    middle = rim * [0.75, 0] + [0, y_mean[-1]]
    for k in range(rings.N_MOUTH_INNER):
        plane[head.mouth[:, k]] = middle + (k + 0.5) / (rings.N_MOUTH_INNER + 0.5) * (rim - middle)
    rim = plane[head.eyes[:, rings.N_EYE_INNER]]
    plane[head.eyes[:, 0]] = rim.mean(1, keepdims=True) + 0.8 * (rim - rim.mean(1, keepdims=True))
    low, high = np.nanmin(plane, 0), np.nanmax(plane, 0)
    uv = 0.5 + (plane - (low + high) / 2) / (high - low).max() * (1 - 2 * MARGIN)
    radius = np.concatenate([[0], np.repeat(np.arange(1, EYEBALL_RINGS + 1), EYEBALL_SEGMENTS)]) / EYEBALL_RINGS
    turn = np.concatenate([[0], np.tile(np.arange(EYEBALL_SEGMENTS), EYEBALL_RINGS)]) / EYEBALL_SEGMENTS * 2 * np.pi
    disc = EYEBALL_SIZE * radius[:, None] * np.column_stack([np.cos(turn), np.sin(turn)])
    uv[head.eyeballs[0]] = disc + [1 - EYEBALL_AT[0], EYEBALL_AT[1]]
    uv[head.eyeballs[1]] = disc * [-1, 1] + EYEBALL_AT
    return np.asarray(uv, np.float32)
