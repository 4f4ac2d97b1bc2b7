"""Colours of the vertices of a mesh that stand for numbers: depth, normals, and positions on the mean face."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from bfm_assets import MorphableModel
from synergy.face import Face
from synergy.geometry import flip_y
from synergy.raster import vertex_normals

Floats = NDArray[np.floating]

# Depth that 127 grey values stand for, in widths of the mean face region.
_REACH = 5 / 8


def depth_colours(face: Face, vertices: Floats) -> Floats:
    """Return grey values (V, 1) in 1..255 that grow linearly towards the camera.

    The range depends on the size of the face and not on its pose, so that it is the same in all frames of a video: 128
    is the mean depth of the 68 landmarks, and 127 grey values are 5/8 of the width of the mean face region. A camera
    without perspective does not tell how far two faces are apart, so every face has its own zero.

    Args:
        face: a face with a dense mesh.
        vertices: (V, 3) its mesh in image pixels.
    """
    reach = _REACH * _width(face.morphable_model) * face.pose.scale
    return np.clip(128 + 127 * vertices[:, 2:] / reach, 1, 255)


def normal_colours(vertices: Floats, triangles: NDArray[np.integer]) -> Floats:
    """Return normals as colours (V, 3) in 0..255: red is x (right), green is y (up), blue is z (towards the camera).

    A component n in -1..1 has the value 127.5 (n + 1), as in the normal maps of most 3D programs.

    Args:
        vertices: (V, 3) in image pixels.
        triangles: (F, 3) vertex indices.
    """
    return 127.5 * (flip_y(vertex_normals(vertices, triangles)) + 1)


@lru_cache(maxsize=4)
def position_colours(model: MorphableModel) -> Floats:
    """Return the Normalized Coordinate Code (V, 3) of a model in 0..255.

    The code of a vertex is its position on the mean face, scaled to 0..255 per axis over the vertices of the face
    region: red is x, green is y, blue is z (3DDFA: Zhu et al., CVPR 2016). A rendered code (PNCC) tells
    for each pixel which place of the face it shows.
    """
    region = model.mean[np.unique(model.face_triangles)]
    low, high = region.min(0), region.max(0)
    return 255 * np.clip((model.mean - low) / (high - low), 0, 1)


@lru_cache(maxsize=4)
def _width(model: MorphableModel) -> float:
    """Return the width of the mean face region in model units."""
    return float(np.ptp(model.mean[np.unique(model.face_triangles), 0]))
