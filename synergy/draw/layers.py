"""Draw all faces of an image in one of the styles of `synergy predict --format`.

`synergy.result_formats` lists the styles. Each function takes an (H, W, 3) uint8 RGB image and the faces of the image,
and returns a new image. Layers can be combined: draw one over the result of another. Smaller faces are drawn first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pkgutil import resolve_name
from typing import cast

import numpy as np
from numpy.typing import NDArray

from synergy.draw.canvas import Image, extent, paint_text
from synergy.draw.coarse import wire_triangles
from synergy.draw.landmarks import paint_landmarks, uncertain_points
from synergy.draw.maps import depth_colours, normal_colours, position_colours
from synergy.draw.mesh import draw_wireframe, paint_colours, paint_mesh
from synergy.draw.pose import paint_axes, paint_pose_box
from synergy.face import Face
from synergy.images import ImageSource, as_image
from synergy.raster import Rasterizer, rasterize
from synergy.result_formats import PICTURE_FORMATS
from synergy.visibility import visible_points

# Opacities over the photo.
_MESH_ALPHA = 0.5
_HEAD_ALPHA = 0.75
# Mean length in pixels of the edges of a wireframe, at least.
_MIN_EDGE = 9.0


def draw_layer(image: ImageSource, faces: Sequence[Face], name: str, rasterizer: Rasterizer = rasterize) -> Image:
    """Draw faces over an image in one style.

    Args:
        image: the photo, in any form that `FacePredictor` takes.
        faces: the faces of the image.
        name: a key of `synergy.result_formats.PICTURE_FORMATS`, for example "wireframe".
        rasterizer: finds the triangle at each pixel (`synergy.raster.rasterizer`).

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        ValueError: there is no such style, or it needs a mesh and the morphable model has none.

    Example:
        >>> from synergy.demo import random_face
        >>> face = random_face((0, 30, 0), seed=0)
        >>> draw_layer(np.zeros((256, 256, 3), np.uint8), [face], "wireframe").shape
        (256, 256, 3)
    """
    if name not in PICTURE_FORMATS:
        raise ValueError(f"no layer '{name}'; choose from {', '.join(PICTURE_FORMATS)}")
    style, image = PICTURE_FORMATS[name], as_image(image)
    draw = resolve_name(style.function)
    return cast(Image, draw(image, faces, rasterizer) if style.needs_mesh else draw(image, faces))


def draw_picture(image: ImageSource, faces: Sequence[Face], name: str, rasterizer: Rasterizer = rasterize) -> Image:
    """Draw the picture that `synergy predict --format NAME` writes: a layer, over the photo or over black.

    Args:
        image: the photo, in any form that `FacePredictor` takes.
        faces: the faces of the image.
        name: a key of `synergy.result_formats.PICTURE_FORMATS`. Maps ("depth", "normals", "pncc") are drawn over black.
        rasterizer: finds the triangle at each pixel (`synergy.raster.rasterizer`).

    Returns:
        (H, W, 3) uint8 RGB.
    """
    is_map = name in PICTURE_FORMATS and PICTURE_FORMATS[name].is_map
    image = as_image(image)
    return draw_layer(np.zeros_like(image) if is_map else image, faces, name, rasterizer)


def overlay(image: Image, faces: Sequence[Face]) -> Image:
    """Draw contours, points and pose axes of every face, and its id if it is tracked.

    Points that the face itself hides, and points with a large standard deviation, are faint (`uncertain_points`).
    """
    out = image.copy()
    for face in _smallest_first(faces):
        size = extent(face.landmarks68)
        paint_landmarks(out, face.landmarks68, uncertain_points(face))
        paint_axes(out, face.pose, face.landmarks68[30], size * 0.5)
        if face.track_id is not None:
            corner = face.landmarks68[:, :2].min(0) - [0, size * 0.04]
            paint_text(out, str(face.track_id), corner, size * 0.2)
    return out


def points_overlay(image: Image, faces: Sequence[Face]) -> Image:
    """Draw the 68 landmarks of every face as points with a dark rim; hidden and uncertain ones are faint."""
    out = image.copy()
    for face in _smallest_first(faces):
        paint_landmarks(out, face.landmarks68, uncertain_points(face), curves=False)
    return out


def contours_overlay(image: Image, faces: Sequence[Face]) -> Image:
    """Draw the nine curves of the 68 landmarks of every face; hidden and uncertain pieces are faint."""
    out = image.copy()
    for face in _smallest_first(faces):
        paint_landmarks(out, face.landmarks68, uncertain_points(face), points=False)
    return out


def pose_overlay(image: Image, faces: Sequence[Face]) -> Image:
    """Draw the axes and the box of every head, and the direction of its nose in degrees."""
    out = image.copy()
    for face in _smallest_first(faces):
        size = extent(face.landmarks68)
        corners = paint_pose_box(out, face.pose, face.landmarks68)
        paint_axes(out, face.pose, face.landmarks68[30], size * 0.7)
        height = max(9.0, size * 0.08)
        for line, (name, angle) in enumerate(face.direction._asdict().items(), 1):
            corner = np.array([corners[:, 0].min(), corners[:, 1].max() + line * 1.6 * height])
            paint_text(out, f"{name} {angle:+.0f}", corner, height)
    return out


def wireframe_overlay(image: Image, faces: Sequence[Face], rasterizer: Rasterizer = rasterize) -> Image:
    """Draw the visible edges of the face region of every mesh."""
    for face, vertices, triangles in _meshes(faces):
        visible = visible_points(vertices, vertices, triangles, rasterizer)
        edges = wire_triangles(face.morphable_model, _MIN_EDGE / face.pose.scale)
        image = draw_wireframe(image, vertices, edges[visible[edges].all(1)])
    return image.copy()


def mesh_overlay(
    image: Image, faces: Sequence[Face], rasterizer: Rasterizer = rasterize, alpha: float = _MESH_ALPHA
) -> Image:
    """Draw the shaded face region of every mesh over the image.

    The face region is `MorphableModel.face_triangles`: without ears, neck and skull, if the model names it.

    Args:
        image: (H, W, 3) uint8 RGB.
        faces: the faces of the image.
        rasterizer: finds the triangle at each pixel (`synergy.raster.rasterizer`).
        alpha: opacity in 0..1.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    out = image.copy()
    for _, vertices, triangles in _meshes(faces):
        paint_mesh(out, vertices, triangles, None, alpha, rasterizer)
    return out


def head_overlay(image: Image, faces: Sequence[Face], rasterizer: Rasterizer = rasterize) -> Image:
    """Draw the shaded mesh of every whole head, with ears, neck and skull where the morphable model has them."""
    out = image.copy()
    for face, vertices, _ in _meshes(faces):
        paint_mesh(out, vertices, face.morphable_model.triangles, None, _HEAD_ALPHA, rasterizer)
    return out


def depth_map(image: Image, faces: Sequence[Face], rasterizer: Rasterizer = rasterize) -> Image:
    """Draw the depth of the face region of every mesh in grey; see `synergy.draw.maps.depth_colours`."""
    out = image.copy()
    for face, vertices, triangles in _meshes(faces):
        grey = np.repeat(depth_colours(face, vertices), 3, 1)
        paint_colours(out, vertices, triangles, grey, 1.0, rasterizer)
    return out


def normal_map(image: Image, faces: Sequence[Face], rasterizer: Rasterizer = rasterize) -> Image:
    """Draw the normals of the face region of every mesh as colours; see `synergy.draw.maps.normal_colours`."""
    out = image.copy()
    for _, vertices, triangles in _meshes(faces):
        paint_colours(out, vertices, triangles, normal_colours(vertices, triangles), 1.0, rasterizer)
    return out


def pncc_map(image: Image, faces: Sequence[Face], rasterizer: Rasterizer = rasterize) -> Image:
    """Draw the Projected Normalized Coordinate Code of every face; see `synergy.draw.maps.position_colours`."""
    out = image.copy()
    for face, vertices, triangles in _meshes(faces):
        paint_colours(out, vertices, triangles, position_colours(face.morphable_model), 1.0, rasterizer)
    return out


def _smallest_first(faces: Sequence[Face]) -> list[Face]:
    """Return the faces in the order of drawing, so that large faces, which are in front, are drawn last."""
    return sorted(faces, key=lambda face: face.pose.scale)


def _meshes(faces: Sequence[Face]) -> Iterator[tuple[Face, NDArray[np.float32], NDArray[np.int32]]]:
    """Yield each face with the vertices (V, 3) and the face region's triangles (F, 3) of its mesh."""
    for face in _smallest_first(faces):
        yield face, face.vertices(), face.morphable_model.face_triangles
