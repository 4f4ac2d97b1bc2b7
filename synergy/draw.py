"""Pictures of predictions: points, contours, pose axes and box, wireframe and shaded mesh, over the image.

Every function takes an (H, W, 3) uint8 RGB image and returns a new one; coordinates are those of `synergy.geometry`.
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
# x, y and z axis of the head: red to the subject's left, green up, blue out of the face.
_AXES: tuple[Colour, Colour, Colour] = ((255, 70, 60), (60, 220, 60), (70, 120, 255))
# OpenCV draws at sub-pixel positions given as fixed point with this many fractional bits.
_SHIFT = 4
_LIGHT = np.array([0.25, -0.35, 0.9]) / np.linalg.norm([0.25, -0.35, 0.9])


def draw_points(image: Image, points: Array, colour: Colour = _POINT, radius: float | None = None) -> Image:
    """Discs at points (N, 2 or 3); the radius follows the face's size unless given."""
    out = image.copy()
    radius = _stroke(points) * 0.8 if radius is None else radius
    for centre in _fixed(points):
        cv2.circle(out, centre, round(radius * 2**_SHIFT), colour, cv2.FILLED, cv2.LINE_AA, _SHIFT)
    return out


def draw_contours(image: Image, landmarks68: Array, colour: Colour = _CONTOUR) -> Image:
    """The nine curves of the 68 landmarks: jaw, brows, nose, eyes, lips."""
    out = image.copy()
    thickness = max(1, round(_stroke(landmarks68) * 0.8))
    for first, last, closed in CONTOURS.values():
        curve = np.array(_fixed(landmarks68[first:last]))
        cv2.polylines(out, [curve], closed, colour, thickness, cv2.LINE_AA, _SHIFT)
    return out


def draw_axes(image: Image, pose: Pose, origin: Array, length: float) -> Image:
    """The head's x (red), y (green) and z (blue) axes of `length` pixels from an image point `origin`."""
    out = image.copy()
    thickness = max(1, round(length / 30))
    tips = _camera_to_image(pose.matrix.T * length, origin)
    # The axis that points away most is drawn first.
    for i in np.argsort(pose.matrix[2]):
        start, end = _fixed(np.stack([origin[:2], tips[i, :2]]))
        cv2.line(out, start, end, _AXES[i], thickness, cv2.LINE_AA, _SHIFT)
    return out


def draw_pose_box(image: Image, pose: Pose, landmarks68: Array, colour: Colour = _CONTOUR) -> Image:
    """A box around the head, turned with it: the front face is the square in front of the landmarks, thicker."""
    out = image.copy()
    centre = landmarks68.mean(0)
    half = np.ptp(landmarks68[:, :2], axis=0).max() * 0.6
    signs = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]])
    front, back = (np.concatenate([signs, np.full((4, 1), z)], 1) for z in (0.9, -1.1))
    corners = _camera_to_image(np.concatenate([back, front]) * half @ pose.matrix.T, centre)
    points = _fixed(corners)
    for a, b in [(0, 1), (1, 2), (2, 3), (3, 0), *[(i, i + 4) for i in range(4)]]:
        cv2.line(out, points[a], points[b], colour, 1, cv2.LINE_AA, _SHIFT)
    for a, b in [(4, 5), (5, 6), (6, 7), (7, 4)]:
        cv2.line(out, points[a], points[b], colour, max(2, round(half / 40)), cv2.LINE_AA, _SHIFT)
    return out


def draw_wireframe(image: Image, vertices: Array, triangles: NDArray[np.integer], colour: Colour = _WIRE) -> Image:
    """The edges of the triangles that face the camera, blended in."""
    out = image.copy()
    visible = triangles[facing(vertices, triangles)]
    points = np.array(_fixed(vertices))
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
    """Draw a mesh over the image, shaded by a light at the camera.

    Args:
        image: (H, W, 3) uint8 RGB.
        vertices: (V, 3) in image pixels, larger z is nearer.
        triangles: (F, 3) indices; only those that face the camera are drawn.
        colours: (V, 3) uint8 RGB per vertex; a plain grey without.
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
    """Unit normals (V, 3), area weighted, outward in image space (x right, y down, z to the camera)."""
    a, b, c = (vertices[triangles[:, i]] for i in range(3))
    # Image space is left-handed, so the outward normal is the negative cross product.
    face = -np.cross(b - a, c - a)
    normals = np.stack([np.bincount(triangles.ravel(), np.repeat(face[:, i], 3), len(vertices)) for i in range(3)], 1)
    return normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)


def overlay(image: Image, faces: Sequence[Face]) -> Image:
    """The default picture: contours, points and pose axes of every face."""
    out = image
    for face in faces:
        size = float(np.ptp(face.landmarks68[:, :2], axis=0).max())
        out = draw_points(draw_contours(out, face.landmarks68), face.landmarks68)
        out = draw_axes(out, face.pose, face.landmarks68[30], size * 0.5)
    return out


def mesh_overlay(image: Image, faces: Sequence[Face], alpha: float = 0.75, rasterizer: Rasterizer = rasterize) -> Image:
    """Draw the shaded mesh of every face over the image, the farthest face first; see `draw_mesh`."""
    out = image
    for face in sorted(faces, key=lambda face: face.pose.scale):
        out = draw_mesh(out, face.vertices(), face.morphable_model.face_triangles, None, alpha, rasterizer)
    return out


def _camera_to_image(offsets: Array, origin: Array) -> Array:
    """Offsets (N, 3) in camera space (y up) from an image point, as image points (N, 2)."""
    return origin[:2] + flip_y(offsets[:, :2])


def _fixed(points: Array) -> list[tuple[int, int]]:
    """The x and y of points as OpenCV's fixed-point coordinates."""
    return [(int(x), int(y)) for x, y in np.rint(np.asarray(points)[:, :2] * 2**_SHIFT)]


def _stroke(points: Array) -> float:
    """A stroke width that suits the extent of a face's points."""
    return max(1.0, float(np.ptp(np.asarray(points)[:, :2], axis=0).max()) / 120)
