"""Draw predictions over an image: points, contours, pose axes, pose box, wireframe and shaded mesh.

Every function takes an (H, W, 3) uint8 RGB image and returns a new one. Coordinates are those of `synergy.geometry`.
A colour is a tuple of red, green and blue in 0..255.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from synergy.face import Face, Pose
from synergy.geometry import flip_y
from synergy.landmarks import CONTOURS
from synergy.raster import Rasterizer, facing, rasterize

Image = NDArray[np.uint8]
Array = NDArray[np.floating]
Colour = tuple[int, int, int]

_POINT: Colour = (255, 255, 255)
_CONTOUR: Colour = (64, 224, 160)
_WIRE: Colour = (120, 200, 255)
# Colours of the head's axes: x (to the subject's left), y (up) and z (out of the face).
_AXES: tuple[Colour, Colour, Colour] = ((255, 70, 60), (60, 220, 60), (70, 120, 255))
# OpenCV takes sub-pixel positions as fixed-point numbers with this many fractional bits.
_SHIFT = 4
# Direction towards the light in image space.
_LIGHT = np.array([0.25, -0.35, 0.9]) / np.linalg.norm([0.25, -0.35, 0.9])


def draw_points(image: Image, points: Array, colour: Colour = _POINT, radius: float | None = None) -> Image:
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
    radius = _line_width(points) * 0.8 if radius is None else radius
    for centre in _fixed_point(points):
        cv2.circle(out, centre, round(radius * 2**_SHIFT), colour, cv2.FILLED, cv2.LINE_AA, _SHIFT)
    return out


def draw_contours(image: Image, landmarks68: Array, colour: Colour = _CONTOUR) -> Image:
    """Draw the nine curves of the 68 landmarks: jaw, brows, nose, eyes and lips.

    Args:
        image: (H, W, 3) uint8 RGB.
        landmarks68: (68, 2 or 3) in image pixels.
        colour: RGB.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    out = image.copy()
    thickness = max(1, round(_line_width(landmarks68) * 0.8))
    for first, last, closed in CONTOURS.values():
        curve = np.array(_fixed_point(landmarks68[first:last]))
        cv2.polylines(out, [curve], closed, colour, thickness, cv2.LINE_AA, _SHIFT)
    return out


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
    thickness = max(1, round(length / 30))
    tips = _camera_to_image(pose.matrix.T * length, origin)
    # The axes are drawn from the farthest to the nearest.
    for i in np.argsort(pose.matrix[2]):
        start, end = _fixed_point(np.stack([origin[:2], tips[i, :2]]))
        cv2.line(out, start, end, _AXES[i], thickness, cv2.LINE_AA, _SHIFT)
    return out


def draw_pose_box(image: Image, pose: Pose, landmarks68: Array, colour: Colour = _CONTOUR) -> Image:
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
    centre = landmarks68.mean(0)
    half = np.ptp(landmarks68[:, :2], axis=0).max() * 0.6
    signs = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]])
    front, back = (np.concatenate([signs, np.full((4, 1), z)], 1) for z in (0.9, -1.1))
    corners = _camera_to_image(np.concatenate([back, front]) * half @ pose.matrix.T, centre)
    points = _fixed_point(corners)
    for a, b in [(0, 1), (1, 2), (2, 3), (3, 0), *[(i, i + 4) for i in range(4)]]:
        cv2.line(out, points[a], points[b], colour, 1, cv2.LINE_AA, _SHIFT)
    for a, b in [(4, 5), (5, 6), (6, 7), (7, 4)]:
        cv2.line(out, points[a], points[b], colour, max(2, round(half / 40)), cv2.LINE_AA, _SHIFT)
    return out


def draw_wireframe(image: Image, vertices: Array, triangles: NDArray[np.integer], colour: Colour = _WIRE) -> Image:
    """Draw the edges of the triangles that face the camera, at 40 % opacity.

    Args:
        image: (H, W, 3) uint8 RGB.
        vertices: (V, 3) in image pixels.
        triangles: (F, 3) vertex indices.
        colour: RGB.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    out = image.copy()
    visible = triangles[facing(vertices, triangles)]
    points = np.array(_fixed_point(vertices))
    cv2.polylines(out, list(points[visible]), True, colour, 1, cv2.LINE_AA, _SHIFT)
    return np.asarray(cv2.addWeighted(out, 0.4, image, 0.6, 0), np.uint8)


def draw_mesh(
    image: Image,
    vertices: Array,
    triangles: NDArray[np.integer],
    colours: NDArray[np.uint8] | None = None,
    alpha: float = 1.0,
    rasterizer: Rasterizer = rasterize,
) -> Image:
    """Draw a shaded mesh over the image.

    Args:
        image: (H, W, 3) uint8 RGB.
        vertices: (V, 3) in image pixels, larger z is nearer.
        triangles: (F, 3) vertex indices. Only triangles that face the camera are drawn.
        colours: (V, 3) uint8 RGB of the vertices, grey by default.
        alpha: opacity in 0..1.
        rasterizer: finds the triangle at each pixel (`synergy.raster.rasterizer`).

    Returns:
        (H, W, 3) uint8 RGB.
    """
    height, width = image.shape[:2]
    front = triangles[facing(vertices, triangles)]
    fragments = rasterizer(vertices, front, height, width)
    base = np.full((len(vertices), 3), 200.0) if colours is None else colours.astype(np.float64)
    lit = base * (0.3 + 0.7 * np.clip(vertex_normals(vertices, triangles) @ _LIGHT, 0, 1))[:, None]
    colour = fragments.interpolate(lit, front)
    blended = image * (1 - alpha) + colour * alpha
    return np.where(fragments.mask[..., None], blended, image).round().astype(np.uint8)


def vertex_normals(vertices: Array, triangles: NDArray[np.integer]) -> Array:
    """Return unit normals (V, 3) of vertices, the mean of the triangles' normals weighted by area.

    Args:
        vertices: (V, 3) in image space (x right, y down, z towards the camera).
        triangles: (F, 3) vertex indices.

    Returns:
        (V, 3) outward normals in image space.
    """
    a, b, c = (vertices[triangles[:, i]] for i in range(3))
    # Image space is left-handed. The outward normal is therefore the negative cross product.
    face = -np.cross(b - a, c - a)
    normals = np.stack([np.bincount(triangles.ravel(), np.repeat(face[:, i], 3), len(vertices)) for i in range(3)], 1)
    return normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)


def overlay(image: Image, faces: Sequence[Face]) -> Image:
    """Draw contours, points and pose axes of every face.

    Args:
        image: (H, W, 3) uint8 RGB.
        faces: the faces of the image.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    out = image
    for face in faces:
        size = float(np.ptp(face.landmarks68[:, :2], axis=0).max())
        out = draw_points(draw_contours(out, face.landmarks68), face.landmarks68)
        out = draw_axes(out, face.pose, face.landmarks68[30], size * 0.5)
    return out


def mesh_overlay(image: Image, faces: Sequence[Face], alpha: float = 0.75, rasterizer: Rasterizer = rasterize) -> Image:
    """Draw the shaded mesh of every face over the image, the smallest face first.

    Args:
        image: (H, W, 3) uint8 RGB.
        faces: the faces of the image.
        alpha: opacity in 0..1.
        rasterizer: finds the triangle at each pixel (`synergy.raster.rasterizer`).

    Returns:
        (H, W, 3) uint8 RGB.
    """
    out = image
    for face in sorted(faces, key=lambda face: face.pose.scale):
        out = draw_mesh(out, face.vertices(), face.morphable_model.face_triangles, None, alpha, rasterizer)
    return out


def _camera_to_image(offsets: Array, origin: Array) -> Array:
    """Add offsets (N, 3) in the camera's frame (y up) to an image point. Return image points (N, 2)."""
    return origin[:2] + flip_y(offsets[:, :2])


def _fixed_point(points: Array) -> list[tuple[int, int]]:
    """Return x and y of points as OpenCV's fixed-point coordinates."""
    return [(int(x), int(y)) for x, y in np.rint(np.asarray(points)[:, :2] * 2**_SHIFT)]


def _line_width(points: Array) -> float:
    """Return a line width in pixels that suits the extent of a face's points."""
    return max(1.0, float(np.ptp(np.asarray(points)[:, :2], axis=0).max()) / 120)
