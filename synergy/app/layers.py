"""Drawings of faces as transparent pictures, which the page lays over the photo."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from synergy.draw import draw_axes, draw_contours, draw_points, draw_pose_box, draw_wireframe, mesh_overlay
from synergy.face import Face

Image = NDArray[np.uint8]
Painter = Callable[[Image, Sequence[Face]], Image]


def _each(paint: Callable[[Image, Face], Image]) -> Painter:
    """Return a function that draws all faces, from one that draws a single face."""

    def paint_all(image: Image, faces: Sequence[Face]) -> Image:
        for face in faces:
            image = paint(image, face)
        return image

    return paint_all


LAYERS: dict[str, Painter] = {
    "shaded": lambda image, faces: mesh_overlay(image, faces, alpha=0.9),
    "wireframe": _each(lambda image, face: draw_wireframe(image, face.vertices(), face.morphable_model.face_triangles)),
    "contours": _each(lambda image, face: draw_contours(image, face.landmarks68)),
    "points": _each(lambda image, face: draw_points(image, face.landmarks68)),
    "pose box": _each(lambda image, face: draw_pose_box(image, face.pose, face.landmarks68)),
    "axes": _each(
        lambda image, face: draw_axes(
            image, face.pose, face.landmarks68[30], float(np.ptp(face.landmarks68[:, :2], axis=0).max()) * 0.5
        )
    ),
}


def transparent(paint: Painter, faces: Sequence[Face], height: int, width: int) -> Image:
    """Draw faces as a picture with an alpha channel.

    A painter that mixes its colours with the image below is linear in that image. Drawing over black and over white
    therefore tells the opacity and the colour of each pixel.

    Args:
        paint: draws faces over an image.
        faces: the faces.
        height: number of rows.
        width: number of columns.

    Returns:
        (height, width, 4) uint8 RGBA, not premultiplied.
    """
    black = paint(np.zeros((height, width, 3), np.uint8), faces).astype(np.float32)
    white = paint(np.full((height, width, 3), 255, np.uint8), faces).astype(np.float32)
    alpha = (255 - (white - black).mean(-1, keepdims=True)).clip(0, 255)
    colour = np.divide(black * 255, alpha, out=np.zeros_like(black), where=alpha > 0)
    return np.rint(np.concatenate([colour.clip(0, 255), alpha], -1)).astype(np.uint8)


def resize_face(face: Face, factor: float) -> Face:
    """Return the face as it is in the image resized by a factor.

    Pixel centres are at integers, so that a point p of the image is at `(p + 0.5) * factor - 0.5`.
    """
    shift = 0.5 * factor - 0.5
    landmarks = face.landmarks68 * np.float32(factor)
    landmarks[:, :2] += shift
    crop = face.crop.copy()
    crop[:, :2] /= factor
    crop[:, 2] -= crop[:, :2] @ [shift, shift]
    return replace(
        face,
        box=face.box * np.float32(factor) + np.float32(shift),
        landmarks68=landmarks,
        landmarks68_std=None if face.landmarks68_std is None else face.landmarks68_std * np.float32(factor),
        pose=replace(face.pose, scale=face.pose.scale * factor),
        crop=crop,
    )
