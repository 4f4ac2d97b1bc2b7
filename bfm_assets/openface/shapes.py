"""Shape modes: how faces differ, as one table of designed deformations and their principal components.

Each row of `FEATURES` is one way in which adults differ, drawn by hand at about one standard deviation. They overlap,
so `model.FEATURE_SCALE` shrinks them all until the measurements of random people vary as published (`proportions`).
Their sum of outer products is the model's covariance; its principal components are the shape modes.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from bfm_assets.openface.controls import EYE_CENTRE
from bfm_assets.openface.expressions import Canvas, smoothstep

Points = NDArray[np.float64]
Field = Callable[[Canvas], Points]
Push = tuple[tuple[float, float, float], float, tuple[float, float, float]]


def pushes(*rows: Push) -> Field:
    """Gaussian pushes (centre, radius, move); one off the plane of symmetry acts on both sides."""

    def field(canvas: Canvas) -> Points:
        parts = [(canvas.both if centre[0] else canvas.push)(centre, radius, move) for centre, radius, move in rows]
        return np.asarray(sum(parts))

    return field


def ramp(axis: int, start: float, end: float, move: tuple[float, float, float]) -> Field:
    """Move by nothing before `start`, by (3,) beyond `end` along an axis; x is the distance from the middle."""

    def field(canvas: Canvas) -> Points:
        along = np.abs(canvas.p[:, 0]) if axis == 0 else canvas.p[:, axis]
        weight = np.clip((along - start) / (end - start), 0, 1)
        side = np.column_stack([np.sign(canvas.p[:, 0]), np.ones((len(weight), 2))])
        return np.asarray(weight[:, None] * side * np.array(move))

    return field


def scaled(x: float, y: float, z: float) -> Field:
    """Stretch along the axes, about the point between the ears."""
    return lambda canvas: canvas.p * np.array([x, y, z])


def lids(upper: float, lower: float) -> Field:
    """Raise the middle of the upper rim and of the lower rim of the eyes, in mm, over the eyeball."""

    def field(canvas: Canvas) -> Points:
        move = np.zeros_like(canvas.p)
        height = np.sin(np.arange(canvas.head.eyes.shape[2]) / canvas.head.eyes.shape[2] * 2 * np.pi)
        for ring, fade in zip(canvas.head.eyes.transpose(1, 0, 2), (1, 1, 0.8, 0.5, 0.2, 0), strict=True):
            move[ring, 1] = fade * (upper * np.clip(height, 0, 1) + lower * np.clip(-height, 0, 1))
        offset = canvas.p[:, 1:] - EYE_CENTRE[1:]
        move[:, 2] = -move[:, 1] * offset[:, 0] / np.maximum(offset[:, 1], 3.0)
        return move

    return field


def lips(upper: float, lower: float) -> Field:
    """Raise the outer border of the upper lip and of the lower lip in its middle, in mm; the lips fill as they grow."""

    def field(canvas: Canvas) -> Points:
        move = np.zeros_like(canvas.p)
        profile = (0, 0, 0, 0, 0, 0.3, 0.6, 0.85, 1.0, 1.0, 0.7)
        fill = (0, 0, 0, 0, 0, 0.5, 0.8, 0.6, 0.2, 0, 0)
        for ring, share, out in zip(canvas.head.mouth.transpose(1, 0, 2), profile, fill, strict=True):
            up, down = np.clip(canvas.lip[ring], 0, 1), np.clip(-canvas.lip[ring], 0, 1)
            move[ring, 1] = share * (upper * up + lower * down)
            move[ring, 2] = out * (upper * up - lower * down)
        return move

    return field


def lopsided(*rows: Push) -> Field:
    """Pushes of one side, and the opposite ones on the other: what makes a face asymmetric."""

    def field(canvas: Canvas) -> Points:
        one = np.asarray(sum(canvas.push(*row) for row in rows))
        return np.asarray((one - canvas.mirrored(one)) / np.sqrt(2))

    return field


def off_lids(field: Field) -> Field:
    """A field that leaves the rims of the eyes where they are."""
    return lambda canvas: np.asarray(field(canvas) * canvas.off_lids[:, None])


def added(*fields: Field) -> Field:
    """Several fields at once."""
    return lambda canvas: np.asarray(sum(field(canvas) for field in fields))


def _forehead_slope(canvas: Canvas) -> Points:
    weight = np.clip((canvas.p[:, 1] - 48) / 60, 0, 2)
    return np.column_stack([0 * weight, 0 * weight, -5.0 * weight])


def _face_arc(canvas: Canvas) -> Points:
    """A face that is flatter or more curved from side to side."""
    x = np.abs(canvas.p[:, 0])
    return np.column_stack([0 * x, 0 * x, -4.0 * smoothstep(x / 60)])


FEATURES: dict[str, Field] = {
    # whole head
    "size": scaled(0.034, 0.034, 0.034),
    "head breadth": ramp(0, 10, 75, (3.2, 0, 0)),
    "face height": scaled(0, 0.035, 0),
    "head length": scaled(0, 0, 0.035),
    "face curvature": _face_arc,
    "lower face height": ramp(1, -16, -80, (0, -4.0, 0)),
    "forehead height": ramp(1, 45, 110, (0, 5.0, 0)),
    "forehead slope": _forehead_slope,
    "lower face forward": ramp(1, 20, -80, (0, 0, 4.0)),
    # sex, build, age: several things at once
    "sex": added(
        scaled(0.02, 0.025, 0.02),
        pushes(
            ((20, 49, 108), 13, (0, -1, 1.8)),
            ((57, -49, 49), 22, (3.4, -1.5, 1)),
            ((16, -75, 103), 14, (2.4, -1.2, 1.5)),
            ((0, 5, 126), 15, (0, -0.5, 1.8)),
            ((36, 53, 100), 14, (0, -1.8, 0)),
            ((48, 8, 86), 13, (-0.5, 0, -1.2)),
            ((45, -105, 20), 28, (4, 0, 0)),
        ),
        lips(-0.7, 0.8),
        lids(-0.4, 0),
    ),
    "weight": pushes(
        ((50, -22, 77), 24, (4.0, 0, 3.0)),
        ((38, -76, 64), 22, (3.0, -3.5, 2.0)),
        ((0, -86, 66), 24, (0, -6.0, 3.0)),
        ((48, -105, 18), 28, (5.0, 0, 3.0)),
        ((66, -20, 40), 24, (3.0, 0, 0)),
    ),
    "age": added(
        pushes(
            ((27, -22, 100), 9, (0, -1, -1.4)),
            ((40, -52, 82), 13, (1.2, -3.0, 1.2)),
            ((28, 17, 98), 7, (0, -0.6, -1.2)),
            ((40, 46, 98), 10, (0, -1.8, -0.4)),
            ((0, -5, 129), 12, (0, -1.6, 0)),
            ((0, -88, 62), 20, (0, -3, 0)),
        ),
        lips(-0.9, 0.8),
        lids(-0.6, -0.4),
    ),
    "flat bridge, full lips": added(
        pushes(
            ((0, 20, 118), 14, (0, 0, -2.6)),
            ((16, -6, 110), 8, (2.2, 0, 0)),
            ((0, -38, 115), 20, (0, 0, 3.0)),
            ((0, -2, 131), 11, (0, 0, -1.6)),
        ),
        lips(1.2, -1.3),
    ),
    # breadths
    "bizygomatic breadth": pushes(((68, 14, 50), 22, (3.4, 0, 0))),
    "bigonial breadth": pushes(((57.5, -49.5, 48.5), 22, (4.2, 0, 0))),
    "frontal breadth": pushes(((57, 64, 72), 24, (2.8, 0, 0))),
    "chin breadth": pushes(((20, -76, 98), 14, (3.0, 0, -0.6))),
    "jaw line": pushes(((44, -66, 64), 17, (3.0, -1.0, 0))),
    # nose
    "nose breadth": pushes(((16.5, -7, 109.5), 8, (1.8, 0, 0))),
    "nose protrusion": pushes(((0, -4, 129), 13, (0, 0, 2.6))),
    "nose length": pushes(((0, -9, 122), 14, (0, -3.2, 0))),
    "bridge height": pushes(((0, 26, 113), 11, (0, 0, 2.4))),
    "bridge breadth": pushes(((8, 22, 110), 8, (1.2, 0, 0))),
    "bridge hump": pushes(((0, 12, 123), 7, (0, 0, 1.6))),
    "tip turned up": pushes(((0, -4, 130), 9, (0, 2.2, 0))),
    "tip breadth": pushes(((7, -2, 126), 6, (1.2, 0, 0))),
    "wings low": pushes(((16, -9, 110), 8, (0, -1.6, 0))),
    "nasion height": pushes(((0, 36, 110), 12, (0, 2.2, 0))),
    # mouth
    "upper lip length": pushes(((0, -37, 114), 17, (0, -2.4, 0))),
    "upper vermilion": lips(1.3, 0),
    "lower vermilion": lips(0, -1.4),
    "mouth breadth": pushes(((25.5, -38.3, 100.8), 11, (2.3, 0, 0))),
    "mouth corners": pushes(((25.5, -38.3, 100.8), 9, (0, 1.5, 0))),
    "mouth corner depth": pushes(((25.5, -38.3, 100.8), 12, (0, 0, 1.8))),
    "lip protrusion": pushes(((0, -37, 115), 17, (0, 0, 2.6))),
    "upper over lower lip": pushes(((0, -29, 118), 10, (0, 0, 1.5)), ((0, -46, 114), 10, (0, 0, -1.5))),
    # chin and jaw
    "chin protrusion": pushes(((0, -72, 109), 19, (0, 0, 3.8))),
    "chin height": pushes(((0, -80, 100), 20, (0, -3.2, 0))),
    "chin button": pushes(((0, -68, 111), 9, (0, 0, 1.4)), ((0, -55, 108), 8, (0, 0, -1.2))),
    "chin line depth": pushes(((26, -76, 88), 14, (0, 0, 3.6))),
    "jaw angle height": pushes(((58, -49, 48), 20, (0, 4.5, 0))),
    "jaw angle depth": pushes(((60, -42, 46), 24, (0, 0, 4.5))),
    # cheeks
    "cheeks": pushes(((46, -14, 86), 20, (1.8, 0, 3.0))),
    "cheek bones": pushes(((48, 9, 87), 14, (1.6, 0, 2.4))),
    "cheek hollow": pushes(((46, -30, 80), 13, (-1.4, 0, -2.2))),
    "midface depth": pushes(((0, -14, 112), 26, (0, 0, 2.6))),
    "eye bags": off_lids(pushes(((28, 16, 98), 9, (0, -0.4, 1.4)))),
    # eyes
    "intercanthal breadth": pushes(((31, 30, 91), 19, (1.7, 0, 0))),
    "fissure length": pushes(((45, 29.5, 86.5), 8, (1.2, 0, -0.4)), ((17, 28.2, 92), 7, (-0.7, 0, 0))),
    "fissure height": lids(0.7, -0.5),
    "canthal tilt": pushes(((45, 29.5, 86.5), 9, (0, 1.5, 0)), ((17, 28.2, 92), 8, (0, -0.8, 0))),
    "eye depth": pushes(((31, 31, 91), 16, (0, 0, 2.0))),
    "eye height": pushes(((31, 31, 91), 18, (0, 1.8, 0))),
    # brows
    "brow ridge": pushes(((18, 49, 108), 12, (0, 0, 2.2))),
    "brow height": pushes(((34, 53, 103), 14, (0, 2.4, 0))),
    "brow tilt": pushes(((53, 50, 85), 11, (0, 2.4, 0)), ((15, 52, 108), 10, (0, -1.4, 0))),
    "brow spacing": pushes(((15, 52, 108), 11, (2.2, 0, 0))),
    "brow breadth": pushes(((56, 47, 82), 12, (2.0, 0, -1.0))),
    "upper lid fold": off_lids(pushes(((32, 42, 98), 8, (0, -1.4, 1.2)))),
    "forehead bulge": pushes(((28, 86, 92), 22, (0, 0, 2.8))),
    "temples": pushes(((62, 50, 67), 16, (2.2, 0, 0))),
    # ears
    "ear height": pushes(((75, 20, 20), 19, (0, 3.6, 0))),
    "ear depth": pushes(((74, 15, 22), 21, (0, 0, 4.2))),
    "neck breadth": pushes(((48, -105, 16), 28, (4.5, 0, 2.0))),
    # asymmetry
    "jaw to one side": lopsided(((20, -72, 100), 34, (1.6, 0, 0))),
    "nose to one side": lopsided(((3, -2, 128), 14, (1.0, 0, 0))),
    "mouth aslant": lopsided(((22, -38, 103), 12, (0, 1.0, 0))),
    "eyes aslant": lopsided(((33, 36, 95), 18, (0, 0.9, 0))),
    "one cheek forward": lopsided(((48, -5, 84), 30, (0, 0, 1.6))),
}


def principal_modes(fields: Points, areas: NDArray[np.float64], count: int) -> tuple[Points, NDArray[np.float64]]:
    """Principal components of deformations (K, V, 3), each one standard deviation of an independent cause.

    Returns:
        modes (V, 3, count), orthonormal under the area-weighted mean over the surface (a coefficient is the root mean
        square displacement in mm), and their standard deviations (count,), largest first.
    """
    weight = np.sqrt(areas / areas.sum())
    flat = (fields * weight[None, :, None]).reshape(len(fields), -1)
    _, std, modes = np.linalg.svd(flat, full_matrices=False)
    modes = modes[:count].reshape(count, -1, 3) / weight[None, :, None]
    sign = np.sign(modes.reshape(count, -1)[np.arange(count), np.abs(modes.reshape(count, -1)).argmax(1)])
    return np.moveaxis(modes * sign[:, None, None], 0, 2), std[:count]
