"""Draw the 68 landmarks: points, curves, and which of them are hidden or uncertain."""

from __future__ import annotations

import itertools
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from bfm_assets import MorphableModel
from synergy.draw.canvas import SHIFT, Array, Colour, Image, extent, fixed_point, line_width
from synergy.face import Face
from synergy.geometry import flip_y
from synergy.landmarks import CONTOURS
from synergy.raster import vertex_normals

POINT: Colour = (255, 255, 255)
CONTOUR: Colour = (64, 224, 160)
_RIM: Colour = (20, 20, 20)
# Opacity of hidden and uncertain landmarks, and the limits of `uncertain_points`. The first limit is of the cosine of
# the angle between the normal and the direction to the camera. A landmark on the outline of the face is still visible.
_FAINT = np.float32(0.3)
_HIDDEN = -0.1
_LARGE_STD = 0.08


def draw_points(image: Image, points: Array, colour: Colour = POINT, radius: float | None = None) -> Image:
    """Draw discs at points.

    Args:
        image: (H, W, 3) uint8 RGB.
        points: (N, 2 or 3) in image pixels.
        colour: RGB.
        radius: in pixels. By default it follows from the extent of the points.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    out = image.copy()
    paint_points(out, points, colour, radius)
    return out


def draw_contours(image: Image, landmarks68: Array, colour: Colour = CONTOUR) -> Image:
    """Draw the nine curves of the 68 landmarks: jaw, brows, nose, eyes and lips.

    Args:
        image: (H, W, 3) uint8 RGB.
        landmarks68: (68, 2 or 3) in image pixels.
        colour: RGB.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    out = image.copy()
    paint_contours(out, landmarks68, colour)
    return out


def uncertain_points(face: Face) -> NDArray[np.bool_]:
    """Return which landmarks are hidden by the face itself, or have a large standard deviation.

    A landmark is hidden if its normal on the mean face, in the predicted head pose, points away from the camera. It is
    unknown for a morphable model without a mesh. A standard deviation is large above 8 % of the face's larger side.

    Returns:
        (68,) bool.
    """
    model = face.morphable_model
    is_uncertain = np.zeros(len(face.landmarks68), bool)
    if model.is_dense:
        is_uncertain |= _landmark_normals(model) @ face.pose.matrix[2] < _HIDDEN
    if face.landmarks68_std is not None:
        is_uncertain |= face.landmarks68_std > _LARGE_STD * extent(face.landmarks68)
    return is_uncertain


@lru_cache(maxsize=4)
def _landmark_normals(model: MorphableModel) -> Array:
    """Return the outward normals (68, 3) of the landmarks on the mean face, in model space.

    The inner lips, whose normals point into the closed mouth, get the mean normal of the outer lips.
    """
    normals = flip_y(vertex_normals(flip_y(model.mean), model.triangles)[model.landmarks])
    outer, inner = (slice(*CONTOURS[name][:2]) for name in ("outer lips", "inner lips"))
    mean = normals[outer].mean(0)
    normals[inner] = mean / np.linalg.norm(mean)
    return normals


def paint_points(out: Image, points: Array, colour: Colour, radius: float | None) -> None:
    """Draw discs into the image; see `draw_points`."""
    radius = _point_radius(points) if radius is None else radius
    for centre in fixed_point(points):
        cv2.circle(out, centre, round(radius * 2**SHIFT), colour, cv2.FILLED, cv2.LINE_AA, SHIFT)


def paint_landmarks(
    out: Image, landmarks68: Array, is_faint: NDArray[np.bool_], points: bool = True, curves: bool = True
) -> None:
    """Draw points, and the curves through them, into the image.

    Args:
        out: (H, W, 3) uint8 RGB, which is changed.
        landmarks68: (68, 2 or 3) in image pixels.
        is_faint: (68,) which points are translucent. So are the pieces of curves that end at one.
        points: draw the points. Without the curves they are larger and have a dark rim.
        curves: draw the curves.
    """

    def paint(shown: NDArray[np.bool_]) -> None:
        if curves:
            paint_contours(out, landmarks68, shown=shown)
        radius = _point_radius(landmarks68)
        if points and not curves:
            radius *= 1.5
            paint_points(out, landmarks68[shown], _RIM, radius + max(0.4, radius / 2))
        if points:
            paint_points(out, landmarks68[shown], POINT, radius)

    if is_faint.any():
        margin = 4 * line_width(landmarks68)
        low = np.floor(landmarks68[:, :2].min(0) - margin).astype(int).clip(0)
        high = np.ceil(landmarks68[:, :2].max(0) + margin).astype(int).clip(0)
        region = out[low[1] : high[1], low[0] : high[0]]
        before = region.copy()
        paint(np.ones(len(landmarks68), bool))
        region[:] = np.rint(before + _FAINT * (region.astype(np.float32) - before)).astype(np.uint8)
    paint(~is_faint)


def paint_contours(
    out: Image, landmarks68: Array, colour: Colour = CONTOUR, shown: NDArray[np.bool_] | None = None
) -> None:
    """Draw the curves of the landmarks into the image, or those pieces whose ends (68,) are shown."""
    thickness = max(1, round(line_width(landmarks68) * 0.8))
    points = fixed_point(landmarks68)
    for first, last, closed in CONTOURS.values():
        for a, b in itertools.pairwise([*range(first, last), *([first] if closed else [])]):
            if shown is None or (shown[a] and shown[b]):
                cv2.line(out, points[a], points[b], colour, thickness, cv2.LINE_AA, SHIFT)


def _point_radius(points: Array) -> float:
    """Return a radius in pixels that suits the extent of a face's points."""
    return max(0.4, extent(points) / 150)
