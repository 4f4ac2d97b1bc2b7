"""From the frame that the face is designed in to the frame that it ships in."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

TILT_DEG = 1.2
"""The designed face looks down by so much less than a Basel Face Model whose inner 51 landmarks it is aligned with.

Head pose is a statement about the model's own axes: without this turn all pitch angles would differ from those of
AFLW2000-3D and 300W-LP, whose axes are BFM's.
"""


def _turn() -> NDArray[np.float64]:
    c, s = np.cos(np.radians(TILT_DEG)), np.sin(np.radians(TILT_DEG))
    return np.array([[1, 0, 0], [0, c, -s], [0, s, c]])


def to_shipped(points: NDArray[np.floating]) -> NDArray[np.floating]:
    """Points or displacements (..., 3) of the designed face in the shipped frame."""
    return points @ _turn().T


def to_designed(points: NDArray[np.floating]) -> NDArray[np.floating]:
    """The inverse of `to_shipped`."""
    return points @ _turn()
