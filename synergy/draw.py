"""Draw predictions over an image: points, contours, pose axes, pose box, wireframe and shaded mesh.

Every function takes an (H, W, 3) uint8 RGB image and returns a new one. Only the pixels near a face are computed: the
rest of the image is copied once. Coordinates are those of
`synergy.geometry`. A colour is a tuple of red, green and blue in 0..255.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from bfm_assets import MorphableModel
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
# Opacity of hidden and uncertain landmarks, and the limits of `uncertain_points`. The first limit is of the cosine of
# the angle between the normal and the direction to the camera. A landmark on the outline of the face is still visible.
_FAINT = np.float32(0.3)
_HIDDEN = -0.1
_LARGE_STD = 0.08
# A mesh is drawn in horizontal bands of about this many pixels, which limits the memory that large faces need.
_BAND_PIXELS = 1 << 18
# Distance in pixels around the vertices within which a wireframe changes the image.
_LINE_MARGIN = 2


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
    _paint_points(out, points, colour, radius)
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
    _paint_contours(out, landmarks68, colour)
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
    _paint_axes(out, pose, origin, length)
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
    rows, columns = _region(vertices, visible, image, _LINE_MARGIN)
    before = image[rows, columns]
    if before.size:
        lines = before.copy()
        points = np.array(_fixed_point(vertices)) - np.array([columns.start, rows.start]) * 2**_SHIFT
        cv2.polylines(lines, list(points[visible]), True, colour, 1, cv2.LINE_AA, _SHIFT)
        out[rows, columns] = cv2.addWeighted(lines, 0.4, before, 0.6, 0)
    return out


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
    out = image.copy()
    _paint_mesh(out, vertices, triangles, colours, alpha, rasterizer)
    return out


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
        side = np.ptp(face.landmarks68[:, :2], axis=0).max()
        is_uncertain |= face.landmarks68_std > _LARGE_STD * side
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


def overlay(image: Image, faces: Sequence[Face]) -> Image:
    """Draw contours, points and pose axes of every face, and its id if it is tracked.

    Points that the face itself hides, and points with a large standard deviation, are faint (`uncertain_points`).

    Args:
        image: (H, W, 3) uint8 RGB.
        faces: the faces of the image.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    out = image.copy()
    for face in faces:
        size = float(np.ptp(face.landmarks68[:, :2], axis=0).max())
        _paint_landmarks(out, face.landmarks68, uncertain_points(face))
        _paint_axes(out, face.pose, face.landmarks68[30], size * 0.5)
        if face.track_id is not None:
            _paint_text(out, str(face.track_id), face.landmarks68[:, :2].min(0), size * 0.2)
    return out


def mesh_overlay(image: Image, faces: Sequence[Face], alpha: float = 0.5, rasterizer: Rasterizer = rasterize) -> Image:
    """Draw the shaded face region of every mesh over the image, the smallest face first.

    The face region is `MorphableModel.face_triangles`: without ears, neck and skull, if the model names it.

    Args:
        image: (H, W, 3) uint8 RGB.
        faces: the faces of the image.
        alpha: opacity in 0..1.
        rasterizer: finds the triangle at each pixel (`synergy.raster.rasterizer`).

    Returns:
        (H, W, 3) uint8 RGB.
    """
    out = image.copy()
    for face in sorted(faces, key=lambda face: face.pose.scale):
        _paint_mesh(out, face.vertices(), face.morphable_model.face_triangles, None, alpha, rasterizer)
    return out


# The functions below change the image that they are given.


def _paint_points(out: Image, points: Array, colour: Colour, radius: float | None) -> None:
    """Draw discs into the image; see `draw_points`."""
    radius = _line_width(points) * 0.8 if radius is None else radius
    for centre in _fixed_point(points):
        cv2.circle(out, centre, round(radius * 2**_SHIFT), colour, cv2.FILLED, cv2.LINE_AA, _SHIFT)


def _paint_landmarks(out: Image, landmarks68: Array, is_faint: NDArray[np.bool_]) -> None:
    """Draw curves and points into the image. Faint points, and pieces of curves that end at one, are translucent."""
    if not is_faint.any():
        _paint_contours(out, landmarks68, _CONTOUR)
        _paint_points(out, landmarks68, _POINT, None)
        return
    margin = 4 * _line_width(landmarks68)
    low = np.floor(landmarks68[:, :2].min(0) - margin).astype(int).clip(0)
    high = np.ceil(landmarks68[:, :2].max(0) + margin).astype(int).clip(0)
    region = out[low[1] : high[1], low[0] : high[0]]
    before = region.copy()
    _paint_contours(out, landmarks68, _CONTOUR)
    _paint_points(out, landmarks68, _POINT, None)
    region[:] = np.rint(before + _FAINT * (region.astype(np.float32) - before)).astype(np.uint8)
    thickness = max(1, round(_line_width(landmarks68) * 0.8))
    points = _fixed_point(landmarks68)
    for first, last, closed in CONTOURS.values():
        curve = [*range(first, last), *([first] if closed else [])]
        for a, b in itertools.pairwise(curve):
            if not (is_faint[a] or is_faint[b]):
                cv2.line(out, points[a], points[b], _CONTOUR, thickness, cv2.LINE_AA, _SHIFT)
    _paint_points(out, landmarks68[~is_faint], _POINT, _line_width(landmarks68) * 0.8)


def _paint_contours(out: Image, landmarks68: Array, colour: Colour) -> None:
    """Draw the curves of the landmarks into the image; see `draw_contours`."""
    thickness = max(1, round(_line_width(landmarks68) * 0.8))
    for first, last, closed in CONTOURS.values():
        curve = np.array(_fixed_point(landmarks68[first:last]))
        cv2.polylines(out, [curve], closed, colour, thickness, cv2.LINE_AA, _SHIFT)


def _paint_axes(out: Image, pose: Pose, origin: Array, length: float) -> None:
    """Draw the head's axes into the image; see `draw_axes`."""
    thickness = max(1, round(length / 30))
    tips = _camera_to_image(pose.matrix.T * length, origin)
    # The axes are drawn from the farthest to the nearest.
    for i in np.argsort(pose.matrix[2]):
        start, end = _fixed_point(np.stack([origin[:2], tips[i, :2]]))
        cv2.line(out, start, end, _AXES[i], thickness, cv2.LINE_AA, _SHIFT)


def _paint_text(out: Image, text: str, corner: Array, height: float) -> None:
    """Write white text with a dark edge, of a height in pixels, into the image; it ends above a corner (2,)."""
    # A capital letter of this font is 22 pixels high at scale 1.
    scale = max(0.4, height / 22)
    place = (round(float(corner[0])), round(float(corner[1]) - 0.2 * height))
    for colour, width in (((0, 0, 0), 4), ((255, 255, 255), 2)):
        thickness = max(1, round(width * scale * 0.6))
        cv2.putText(out, text, place, cv2.FONT_HERSHEY_SIMPLEX, scale, colour, thickness, cv2.LINE_AA)


def _paint_mesh(
    out: Image,
    vertices: Array,
    triangles: NDArray[np.integer],
    colours: NDArray[np.uint8] | None,
    alpha: float,
    rasterizer: Rasterizer,
) -> None:
    """Draw a shaded mesh into the image, band by band; see `draw_mesh`."""
    front = triangles[facing(vertices, triangles)]
    rows, columns = _region(vertices, front, out)
    light = 0.3 + 0.7 * np.clip(vertex_normals(vertices, triangles) @ _LIGHT, 0, 1)[:, None]
    lit = light * 200.0 if colours is None else light * colours
    band = max(1, _BAND_PIXELS // max(1, columns.stop - columns.start))
    for top in range(rows.start, rows.stop, band):
        target = out[top : min(top + band, rows.stop), columns]
        shifted = np.asarray(vertices - [columns.start, top, 0], np.float32)
        fragments = rasterizer(shifted, front, *target.shape[:2])
        painted = fragments.interpolate_covered(lit, front)
        below = target[fragments.mask].astype(np.float32)
        target[fragments.mask] = np.rint(below + (painted - below) * np.float32(alpha)).astype(np.uint8)


def _region(vertices: Array, triangles: NDArray[np.integer], image: Image, margin: int = 0) -> tuple[slice, slice]:
    """Return the rows and columns of the image that triangles can cover.

    Args:
        vertices: (V, 2 or 3) in image pixels.
        triangles: (F, 3) vertex indices.
        image: (H, W, 3).
        margin: number of pixels around the triangles that belong to the region.
    """
    height, width = image.shape[:2]
    if not len(triangles):
        return slice(0, 0), slice(0, 0)
    used = vertices[np.unique(triangles), :2]
    x0, y0 = np.clip(np.floor(used.min(0)).astype(int) - margin, 0, [width, height]).tolist()
    x1, y1 = np.clip(np.ceil(used.max(0)).astype(int) + margin + 1, [x0, y0], [width, height]).tolist()
    return slice(y0, y1), slice(x0, x1)


def _camera_to_image(offsets: Array, origin: Array) -> Array:
    """Add offsets (N, 3) in the camera's frame (y up) to an image point. Return image points (N, 2)."""
    return origin[:2] + flip_y(offsets[:, :2])


def _fixed_point(points: Array) -> list[tuple[int, int]]:
    """Return x and y of points as OpenCV's fixed-point coordinates."""
    return [(int(x), int(y)) for x, y in np.rint(np.asarray(points)[:, :2] * 2**_SHIFT)]


def _line_width(points: Array) -> float:
    """Return a line width in pixels that suits the extent of a face's points."""
    return max(1.0, float(np.ptp(np.asarray(points)[:, :2], axis=0).max()) / 120)
