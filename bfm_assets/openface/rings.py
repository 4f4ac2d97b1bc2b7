"""Edge loops around the eyes and the mouth of the right image half, as rings of 3D points.

Every ring of one feature has the same number of points, so that neighbouring rings are joined by a strip of quads.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline, PchipInterpolator

from bfm_assets.openface.controls import EYE_CENTRE, EYE_RADIUS, landmarks68

Points = NDArray[np.float64]

EYE_STEPS = 12
"""Points of a lid from corner to corner; an eye ring has twice as many."""
MOUTH_STEPS = 24
"""Steps of half a mouth ring, from the middle of the upper lip over the corner to the middle of the lower lip."""
CORNER = MOUTH_STEPS // 2
"""The step that lies at the mouth's corner."""
N_EYE_INNER = 1
"""How many of the eye rings lie inside the rim that carries the landmarks."""
N_MOUTH_INNER = 4
"""How many of the mouth rings lie inside the lips, in the mouth."""
MOUTH_BORDER = N_MOUTH_INNER + 4
"""The mouth ring that is the border of the lips."""
BROW_STEPS = [0, 8, 16, 22, 28]
"""The steps along a brow that carry its landmarks."""


def _through(points: Points, steps: list[int]) -> Points:
    """A smooth curve through points (K, 3) that it reaches at the given steps: (steps[-1] + 1, 3)."""
    chord = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
    at = PchipInterpolator(steps, chord)(np.arange(steps[0], steps[-1] + 1))
    return np.asarray(CubicSpline(chord, points, bc_type="natural")(at))


def eye_rings() -> Points:
    """Rings (R, 24, 3) around the eye of x > 0, inside first; step 0 is the inner corner, step 12 the outer one.

    Ring `N_EYE_INNER` is the rim of the lids with the landmarks 42..47; the ring before it lies on the eyeball. Where z
    is NaN, the point lies on the skin, wherever that is.
    """
    lm, centre = landmarks68(), np.array(EYE_CENTRE)
    third = EYE_STEPS // 3
    steps = [0, third, 2 * third, EYE_STEPS]
    upper = _through(lm[[42, 43, 44, 45]], steps)
    lower = _through(lm[[45, 46, 47, 42]], steps)
    rim = np.concatenate([upper[:-1], lower[:-1]])

    def on_sphere(xy: Points, radius: Points | float) -> Points:
        offset = xy - centre[:2]
        z = np.sqrt(np.maximum(np.asarray(radius) ** 2 - (offset**2).sum(1), 4.0))
        return np.column_stack([xy, centre[2] + z])

    middle = rim[:, :2].mean(0)
    height = np.sin(np.arange(2 * EYE_STEPS) / EYE_STEPS * np.pi)
    narrower = np.column_stack([np.where(rim[:, 0] < middle[0], 0.80, 0.85), np.full(len(rim), 0.93)])
    inner = on_sphere(middle + (rim[:, :2] - middle) * narrower, EYE_RADIUS + 0.3 + 0.4 * np.abs(height))
    normal = np.column_stack([(rim[:, 0] - middle[0]) * 0.16, np.sign(height) * (0.55 + 0.45 * np.abs(height))])
    normal[[0, EYE_STEPS]] = [[-1, -0.1], [1, 0]]
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    rings = [inner, rim]
    radius = np.linalg.norm(rim - centre, axis=1) + 0.3
    for corner, away, on_lid in [(1.3, 1.5, True), (2.6, 3.2, True), (4.2, 5.4, False), (6.2, 8.2, False)]:
        xy = rim[:, :2] + normal * (corner + (away - corner) * np.abs(height))[:, None]
        ring = on_sphere(xy, radius)
        ring[(np.abs(height) < 0.6) | (not on_lid), 2] = np.nan
        rings.append(ring)
    return np.stack(rings)


def _mirrored_through(points: Points, steps: list[int], up_to: int) -> Points:
    """`_through` for half a curve that starts in the plane of symmetry and is smooth across it."""
    left = points[:0:-1] * [-1, 1, 1]
    both = np.concatenate([left, points])
    full = [-s for s in steps[:0:-1]] + steps
    return _through(both, full)[-up_to - 1 :]


def mouth_rings() -> Points:
    """Half rings (R, 25, 3) of the mouth of x >= 0, inside first, from the middle above to the middle below.

    The first `N_MOUTH_INNER` rings line the mouth, the next is the inner border of the lips (landmarks 62..66), ring
    `MOUTH_BORDER` their outer border (51..57), the others are the skin around them, with z NaN.
    """
    lm = landmarks68()
    half = CORNER

    def ring(upper: list[int], upper_steps: list[int], lower: list[int], lower_steps: list[int]) -> Points:
        top = _mirrored_through(lm[upper], upper_steps, half)
        bottom = _mirrored_through(lm[lower], lower_steps, half)[::-1]
        return np.concatenate([top, bottom[1:]])

    outer = ring([51, 52, 53, 54], [0, 3, 7, 12], [57, 56, 55, 54], [0, 4, 8, 12])
    inner = ring([62, 63, 64], [0, 5, 12], [66, 65, 64], [0, 5, 12])
    step = np.arange(MOUTH_STEPS + 1)
    sign = np.where(step < half, 1.0, np.where(step > half, -1.0, 0.0))
    to_corner = np.abs(step - half) / half
    full = np.sin(to_corner * np.pi / 2)
    rings = []
    for back, open_, narrow in [(30.0, 0.0, 0.60), (24.0, 9.0, 0.80), (13.0, 7.0, 0.90), (5.0, 1.8, 0.97)]:
        deep = inner.copy()
        deep[:, 0] *= narrow
        deep[:, 1] += sign * full * open_
        deep[:, 2] -= back * (0.45 + 0.55 * full)
        rings.append(deep)
    rings[0][:, 1] = (rings[0][:, 1] + rings[0][::-1, 1]) / 2 + 0.5 * sign * full
    rings.append(inner)
    for weight, height, bulge in [(0.25, 0.10, 2.0), (0.5, 0.40, 2.8), (0.75, 0.72, 1.8)]:
        middle = inner + weight * (outer - inner)
        middle[:, 1] += (height - weight) * full * (outer - inner)[:, 1]
        middle[:, 2] += bulge * full
        rings.append(middle)
    rings.append(outer)
    middle_point = np.array([0.0, -38.0])
    out = outer[:, :2] - middle_point
    normal = np.column_stack([out[:, 0] * 0.35, out[:, 1] + 0 * sign])
    normal[:, 1] += sign * 4 * full
    normal[half] = [1, 0]
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    normal[[0, -1], 0] = 0
    unknown = np.full(len(outer), np.nan)
    rings += [np.column_stack([outer[:, :2] + normal * distance, unknown]) for distance in (1.8, 4.2)]
    return np.stack(rings)


def brow_rows() -> Points:
    """Rows (3, 29, 2) of frontal positions along the brow of x > 0; the first, upper one has the landmarks 22..26."""
    upper = _through(landmarks68()[22:27], BROW_STEPS)[:, :2]
    along = np.linspace(0, 1, len(upper))
    height = np.interp(along, [0, 0.1, 0.4, 0.75, 1], [1.6, 2.3, 2.2, 1.5, 0.5])
    return np.stack([upper - [0, 1] * (row * height[:, None]) for row in range(3)])
