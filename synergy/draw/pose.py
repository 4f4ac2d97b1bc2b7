"""Draw the head pose: axes and box."""

from __future__ import annotations

import cv2
import numpy as np

from synergy.draw.canvas import SHIFT, Array, Colour, Image, extent, fixed_point
from synergy.face import Pose
from synergy.geometry import flip_y

# Colours of the head's axes: x (to the subject's left), y (up) and z (out of the face).
_AXES: tuple[Colour, Colour, Colour] = ((255, 70, 60), (60, 220, 60), (70, 120, 255))
_BOX: Colour = (64, 224, 160)
# Distances of the front and the back of the pose box from the mean of the landmarks, in half sides of the front.
_FRONT, _BACK = 0.8, -1.4


def draw_axes(image: Image, pose: Pose, origin: Array, length: float) -> Image:
    """Draw the head's x (red), y (green) and z (blue) axes.

    Args:
        image: (H, W, 3) uint8 RGB.
        pose: the head pose.
        origin: (2 or 3,) image point where the axes start.
        length: length of the axes in pixels.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    out = image.copy()
    paint_axes(out, pose, origin, length)
    return out


def draw_pose_box(image: Image, pose: Pose, landmarks68: Array, colour: Colour = _BOX) -> Image:
    """Draw a box around the head, with the rotation of the head. The side in front of the face has thicker lines.

    Args:
        image: (H, W, 3) uint8 RGB.
        pose: the head pose.
        landmarks68: (68, 3) in image pixels.
        colour: RGB.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    out = image.copy()
    paint_pose_box(out, pose, landmarks68, colour)
    return out


def paint_pose_box(out: Image, pose: Pose, landmarks68: Array, colour: Colour = _BOX) -> Array:
    """Draw a box around the head into the image; see `draw_pose_box`. Return its corners (8, 2) in the image."""
    centre = landmarks68.mean(0)
    half = extent(landmarks68) * 0.6
    signs = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]])
    front, back = (np.concatenate([signs, np.full((4, 1), z)], 1) for z in (_FRONT, _BACK))
    corners = _camera_to_image(np.concatenate([back, front]) * half @ pose.matrix.T, centre)
    points = fixed_point(corners)
    for a, b in [(0, 1), (1, 2), (2, 3), (3, 0), *[(i, i + 4) for i in range(4)]]:
        cv2.line(out, points[a], points[b], colour, max(1, round(half / 80)), cv2.LINE_AA, SHIFT)
    for a, b in [(4, 5), (5, 6), (6, 7), (7, 4)]:
        cv2.line(out, points[a], points[b], colour, max(1, round(half / 30)), cv2.LINE_AA, SHIFT)
    return corners


def paint_axes(out: Image, pose: Pose, origin: Array, length: float) -> None:
    """Draw the head's axes into the image; see `draw_axes`."""
    thickness = max(1, round(length / 30))
    tips = _camera_to_image(pose.matrix.T * length, origin)
    # The axes are drawn from the farthest to the nearest.
    for i in np.argsort(pose.matrix[2]):
        start, end = fixed_point(np.stack([origin[:2], tips[i, :2]]))
        cv2.line(out, start, end, _AXES[i], thickness, cv2.LINE_AA, SHIFT)


def _camera_to_image(offsets: Array, origin: Array) -> Array:
    """Add offsets (N, 3) in the camera's frame (y up) to an image point. Return image points (N, 2)."""
    return origin[:2] + flip_y(offsets[:, :2])
