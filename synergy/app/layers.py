"""Drawings of faces as transparent pictures, which the page lays over the photo."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from synergy.draw import draw_layer
from synergy.face import Face
from synergy.result_formats import PICTURE_FORMATS

Image = NDArray[np.uint8]


def layer_names(has_mesh: bool) -> list[str]:
    """Return the names of the layers, the lowest first: surfaces are below lines and points.

    Args:
        has_mesh: whether the faces have a mesh.
    """
    # An overlay is contours, points and axes in one picture.
    singles = [one for name, one in PICTURE_FORMATS.items() if name != "overlay"]
    surfaces = [one.name for one in reversed(singles) if one.needs_mesh]
    return (surfaces if has_mesh else []) + [one.name for one in singles if not one.needs_mesh]


def transparent_layer(faces: Sequence[Face], name: str, height: int, width: int) -> Image:
    """Draw faces as a picture with an alpha channel.

    Layers mix their colours with the image below. Drawing over black and over white therefore tells the opacity and
    the colour of each pixel.

    Args:
        faces: the faces.
        name: of the layer, one of `layer_names`.
        height: number of rows.
        width: number of columns.

    Returns:
        (height, width, 4) uint8 RGBA, not premultiplied.
    """
    black = draw_layer(np.zeros((height, width, 3), np.uint8), faces, name)
    white = draw_layer(np.full((height, width, 3), 255, np.uint8), faces, name)
    out = np.zeros((height, width, 4), np.uint8)
    changed = black | ~white
    drawn = (changed[..., 0] | changed[..., 1] | changed[..., 2]) > 0
    below, above = black[drawn].astype(np.float32), white[drawn].astype(np.float32)
    alpha = (255 - (above - below).mean(-1, keepdims=True)).clip(0, 255)
    colour = np.divide(below * 255, alpha, out=np.zeros_like(below), where=alpha > 0)
    out[drawn] = np.rint(np.concatenate([colour.clip(0, 255), alpha], -1))
    return out
