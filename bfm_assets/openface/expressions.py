"""Expression modes: what the muscles of the face do, drawn as displacements of handles at full strength."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from bfm_assets.openface import controls, rings
from bfm_assets.openface.head import Head

Points = NDArray[np.float64]
Floats = NDArray[np.float64]
Vector = tuple[float, float, float]

JAW_AXIS = np.array([0.0, 10.0, 20.0])
"""A point of the axis, along x, about which the lower jaw turns."""
JAW_ANGLE = np.radians(17.0)
STD = 0.4
"""Standard deviation of every expression coefficient; 1 is full strength."""


def smoothstep(x: Floats) -> Floats:
    """0 below 0, 1 above 1, smooth in between."""
    t = np.clip(x, 0, 1)
    return np.asarray(t * t * (3 - 2 * t))


class Canvas:
    """The mean face with the masks that expressions are drawn with.

    Attributes:
        p: (V, 3) mean vertices.
        lip: (V,) +1 in the middle of the upper lip, -1 in the middle of the lower, 0 at the corners and elsewhere.
        off_lids: (V,) 0 on the rims of the eyes, growing to 1 on the loops around them, 1 elsewhere.
        is_lip: (V,) whether a vertex lies on a mouth ring, the lining of the mouth included.
    """

    def __init__(self, head: Head) -> None:
        self.head = head
        self.p = head.vertices
        self.lip = np.zeros(len(self.p))
        self.is_lip = np.zeros(len(self.p), bool)
        step = np.arange(rings.MOUTH_STEPS + 1)
        profile = np.sin(np.clip((rings.CORNER - step) / rings.CORNER, -1, 1) * np.pi / 2)
        self.lip[head.mouth] = profile
        self.lip[head.mouth[:, 0]] = 0
        self.is_lip[head.mouth] = True
        self.off_lids = np.ones(len(self.p))
        for ring, share in zip(head.eyes.transpose(1, 0, 2), (0, 0, 0.1, 0.3, 0.6, 0.9), strict=True):
            self.off_lids[ring] = share

    def push(self, centre: Vector, radius: float, move: Vector, mask: Floats | None = None) -> Points:
        """Move what is around a point by (3,) mm, fading like a Gaussian with the given radius: (V, 3)."""
        weight = np.exp(-((self.p - centre) ** 2).sum(1) / (2 * radius**2))
        if mask is not None:
            weight = weight * mask
        return np.asarray(weight[:, None] * np.array(move))

    def both(self, centre: Vector, radius: float, move: Vector, mask: Floats | None = None) -> Points:
        """`push` on both sides of the face; the point is given for x > 0."""
        other = self.push((-centre[0], centre[1], centre[2]), radius, (-move[0], move[1], move[2]), mask)
        return self.push(centre, radius, move, mask) + other

    def mirrored(self, displacement: Points) -> Points:
        """The same displacement on the other side of the face."""
        return np.asarray(displacement[self.head.mirror] * [-1, 1, 1])

    @property
    def upper(self) -> Floats:
        """1 everywhere but on the lower lip, where it fades to 0."""
        return np.asarray(np.where(self.is_lip, np.clip(0.5 + self.lip, 0, 1), self.p[:, 1] > -38.0))

    @property
    def lower(self) -> Floats:
        """1 on the lower lip and below it."""
        return 1 - self.upper


def jaw_weight(canvas: Canvas) -> Floats:
    """How much each vertex belongs to the lower jaw: (V,) in [0, 1]."""
    x, y, z = np.abs(canvas.p[:, 0]), canvas.p[:, 1], canvas.p[:, 2]
    line = -38 + (101 - z) * 0.40
    weight = smoothstep((line - y + 7) / (14 + 22 * smoothstep((x - 14) / 30)))
    weight *= smoothstep((z - 18) / 45)
    weight *= 1 - smoothstep((-84 - y) / 40) * smoothstep((95 - z) / 30)
    on_lip = np.where(canvas.lip < 0, 0.45 - 0.55 * canvas.lip, 0.45 * (1 - canvas.lip) ** 1.5)
    return np.asarray(np.where(canvas.is_lip, on_lip, weight))


def jaw_open(canvas: Canvas) -> Points:
    """The lower jaw turns about its joint; lips and cheeks follow."""
    angle = JAW_ANGLE * jaw_weight(canvas)
    offset = canvas.p - JAW_AXIS
    y = offset[:, 1] * np.cos(angle) - offset[:, 2] * np.sin(angle)
    z = offset[:, 1] * np.sin(angle) + offset[:, 2] * np.cos(angle)
    move = np.column_stack([0 * y, y - offset[:, 1], z - offset[:, 2]])
    return move + canvas.both((25.5, -38.3, 100.8), 8, (-2.5, 0, 0))


def smile(canvas: Canvas) -> Points:
    """The corner of the mouth of x > 0 goes out, up and back; the cheek rises."""
    move = canvas.push((25.5, -38.3, 100.8), 13, (8.5, 9.0, -5.0))
    move += canvas.push((40, -4, 94), 14, (0.5, 4.5, 3.0))
    move += canvas.push((31, 24, 94), 8, (0, 1.2, 0.3))
    return move


def frown(canvas: Canvas) -> Points:
    """The corner of the mouth of x > 0 goes down."""
    move = canvas.push((25.5, -38.3, 100.8), 13, (1.0, -7.5, -1.5))
    return move + canvas.push((14, -64, 106), 9, (0, 2.0, 1.0))


def stretch(canvas: Canvas) -> Points:
    """The corner of the mouth of x > 0 goes straight out."""
    return canvas.push((25.5, -38.3, 100.8), 14, (8.0, -1.5, -5.5))


def pucker(canvas: Canvas) -> Points:
    """Both corners come in, the lips go forward."""
    move = canvas.both((25.5, -38.3, 100.8), 12, (-10.0, 0, 2.5))
    move += canvas.push((0, -38, 114), 15, (0, 0, 6.5))
    move[:, 1] += np.where(canvas.is_lip, 1.0 * canvas.lip, 0) * np.exp(-((canvas.p[:, 0] / 12) ** 2))
    return move


def press(canvas: Canvas) -> Points:
    """The lips close and roll in."""
    move = canvas.push((0, -38, 112), 18, (0, 0, -1.5))
    amounts = (0, 0, 0.1, 0.3, 0.45, 1.0, 1.5, 2.2, 2.6, 2, 1)
    for ring, amount in zip(canvas.head.mouth.transpose(1, 0, 2), amounts, strict=True):
        at = np.unique(ring)
        move[at, 1] -= amount * canvas.lip[at]
    return move


def upper_lip_up(canvas: Canvas) -> Points:
    """The upper lip rises and shows the teeth."""
    return canvas.both((9, -31, 115), 11, (0, 3.6, -0.3), canvas.upper)


def lower_lip_down(canvas: Canvas) -> Points:
    """The lower lip sinks."""
    return canvas.both((9, -44, 112), 10, (0, -4.2, -0.3), canvas.lower)


def jaw_side(canvas: Canvas) -> Points:
    """The lower jaw slides to x > 0."""
    return np.asarray(jaw_weight(canvas)[:, None] * np.array([8.0, 0, 0]))


def brow_up(canvas: Canvas) -> Points:
    """Both brows rise."""
    off = canvas.off_lids
    move = canvas.both((22, 54, 106), 13, (0, 7.0, 0.6), off) + canvas.both((46, 52, 92), 12, (0, 5.0, 0.6), off)
    return move + canvas.both((31, 40, 97), 7, (0, 1.5, 0), off)


def brow_inner_up(canvas: Canvas) -> Points:
    """The inner ends of the brows rise, as in grief."""
    off = canvas.off_lids
    return canvas.both((13, 52, 108), 9, (-0.8, 6.5, 1.0), off) + canvas.both((50, 50, 90), 9, (0, -1.5, 0), off)


def brow_down(canvas: Canvas) -> Points:
    """Both brows sink and draw together."""
    off = canvas.off_lids
    move = canvas.both((15, 51, 108), 11, (-2.6, -6.0, 1.4), off)
    move += canvas.both((40, 53, 98), 12, (-0.8, -2.8, 0.3), off)
    return move + canvas.both((24, 41, 98), 7, (0, -1.0, 0.8), off)


def _close(canvas: Canvas, meet: float, amount: float) -> Points:
    """Lids of the eye of x > 0 move over the eyeball towards the line at `meet` between lower (0) and upper (1) rim."""
    p, eye = canvas.p, canvas.head.eyes[0]
    centre = np.array(controls.EYE_CENTRE)
    move = np.zeros_like(p)
    n = rings.EYE_STEPS
    upper_steps = np.arange(1, n)
    for steps, opposite, sign in [(upper_steps, 2 * n - upper_steps, 1), (2 * n - upper_steps, upper_steps, -1)]:
        share = meet if sign == 1 else 1 - meet
        for k, fraction in enumerate((1.0, 1.0, 0.86, 0.62, 0.28)):
            rim = min(k, rings.N_EYE_INNER)
            gap = p[eye[rim, opposite], 1] - p[eye[rim, steps], 1]
            at = eye[k, steps]
            y = p[at, 1] + fraction * ((1 - share) * gap * amount + sign * 0.15)
            radius = np.linalg.norm((p[at] - centre)[:, 1:], axis=1)
            if k <= rings.N_EYE_INNER:  # where the lids meet, they are equally far from the eye's centre
                radius_of_other = np.linalg.norm((p[eye[k, opposite]] - centre)[:, 1:], axis=1)
                radius += amount * (radius_of_other - radius) / 2
            z = centre[2] + np.sqrt(np.maximum(radius**2 - (y - centre[1]) ** 2, 1))
            move[at, 1] = y - p[at, 1]
            move[at, 2] = (z - p[at, 2]) * min(1.0, fraction + 0.1)
    return move


def blink(canvas: Canvas) -> Points:
    """The eye of x > 0 closes."""
    return _close(canvas, 0.12, 1.0)


def squint(canvas: Canvas) -> Points:
    """Both eyes narrow, the cheeks rise."""
    close = _close(canvas, 0.45, 0.45)
    move = close + canvas.mirrored(close)
    move += canvas.both((33, 14, 97), 9, (0, 2.4, 1.2)) + canvas.both((40, 47, 98), 9, (0, -1.2, 0))
    return move


def eye_wide(canvas: Canvas) -> Points:
    """Both eyes open wide."""
    wide = -0.3 * _close(canvas, 0.2, 1.0)
    return wide + canvas.mirrored(wide)


def sneer(canvas: Canvas) -> Points:
    """The wings of the nose and the upper lip rise."""
    move = canvas.both((16, -6, 110), 9, (1.2, 4.6, -0.4)) + canvas.both((14, -28, 112), 9, (0, 4.4, 0), canvas.upper)
    move += canvas.both((14, 50, 108), 9, (-1.2, -3.0, 0.6), canvas.off_lids)
    return move + canvas.both((10, 20, 107), 8, (-0.3, 2.4, 1.2))


def cheek_puff(canvas: Canvas) -> Points:
    """Air fills the cheeks."""
    return canvas.both((43, -24, 87), 15, (6.0, -0.5, 6.5)) + canvas.push((0, -28, 114), 14, (0, 0, 1.5))


Drawing = Callable[[Canvas], Points]

EXPRESSIONS: dict[str, Drawing] = {
    "jaw_open": jaw_open,
    "smile_left": smile,
    "smile_right": lambda c: c.mirrored(smile(c)),
    "pucker": pucker,
    "lips_press": press,
    "lip_corner_down_left": frown,
    "lip_corner_down_right": lambda c: c.mirrored(frown(c)),
    "mouth_stretch_left": stretch,
    "mouth_stretch_right": lambda c: c.mirrored(stretch(c)),
    "upper_lip_up": upper_lip_up,
    "lower_lip_down": lower_lip_down,
    "jaw_left": jaw_side,
    "brow_up": brow_up,
    "brow_inner_up": brow_inner_up,
    "brow_down": brow_down,
    "blink_left": blink,
    "blink_right": lambda c: c.mirrored(blink(c)),
    "squint": squint,
    "eye_wide": eye_wide,
    "sneer": sneer,
    "cheek_puff": cheek_puff,
}
"""Left and right are the subject's: the left is at x > 0."""
