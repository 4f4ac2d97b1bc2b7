"""Texture coordinates of a morphable model: its own, or a projection for models that have none."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from bfm_assets import MorphableModel

Floats = NDArray[np.float32]


@lru_cache(maxsize=4)
def texture_coordinates(model: MorphableModel) -> Floats:
    """Return texture coordinates of a model's vertices.

    The open face has its own: the skin fills a disc, and eyes, mouth and teeth have small discs below it. A model
    without texture coordinates gets a projection of the mean face: the angle of a vertex from the viewing axis, as seen
    from the middle between the ears, is its distance from the centre of the texture (azimuthal equidistant). Parts that
    lie behind each other, such as the inside of the mouth behind the lips, then share a place in the texture.

    Args:
        model: the morphable model.

    Returns:
        (V, 2) float32 in 0..1, u to the right and v up.

    Example:
        >>> from bfm_assets import open_face
        >>> uv = texture_coordinates(open_face())
        >>> uv[open_face().landmarks[30]].round(1).tolist()  # the tip of the nose
        [0.5, 0.5]
    """
    if model.uv is not None:
        return model.uv
    ears = model.mean[model.landmarks[[0, 16]]]  # the ends of the jaw line
    return project_from_centre(model.mean, ears.mean(0))


def project_from_centre(points: NDArray[np.floating], centre: NDArray[np.floating]) -> Floats:
    """Project points (V, 3) around a centre (3,) to texture coordinates (V, 2); see `texture_coordinates`."""
    x, y, z = (points - centre).astype(np.float64).T
    across = np.hypot(x, y)
    angle = np.arctan2(across, z)
    radius = 0.5 * angle / angle.max()
    # On the axis itself, the direction across it does not matter.
    scale = radius / np.maximum(across, 1e-9)
    return np.stack([0.5 + x * scale, 0.5 + y * scale], 1).astype(np.float32)
