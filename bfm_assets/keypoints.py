"""Landmark vertices from a file of their own, for models that carry none.

A `.npy` array, or text with indices parted by spaces, commas or line ends; counted from 0, iBUG order: 68 vertex
indices, or 3DDFA's 204 coordinate indices (`keypoints_sim.npy`).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bfm_assets.convert import landmarks
from bfm_assets.errors import ModelFileError, reading
from bfm_assets.npz import read_array
from bfm_assets.schema import Ints

# Looked for beside a model file, in this order.
NAMES = ("keypoints_sim.npy", "keypoints.npy", "keypoints.txt")
_MAX_TEXT = 100_000


def read_keypoints(path: str | Path, n_vertices: int) -> Ints:
    """The 68 landmark vertices in a keypoint file, of a mesh with `n_vertices`."""
    path = Path(path)
    with reading(path, "keypoint file"):
        if path.suffix == ".npy":
            found = read_array(path)
        else:
            with path.open() as file:
                found = np.array([int(word) for word in file.read(_MAX_TEXT).replace(",", " ").split()])
        return landmarks(found, n_vertices, 0, "the keypoint array")


def find_keypoints(given: str | Path | None, folder: Path, n_vertices: int, model: str) -> Ints:
    """The landmarks of the `given` keypoint file, or of one that lies in the model's folder."""
    if given is not None:
        return read_keypoints(given, n_vertices)
    for name in NAMES:
        if (folder / name).is_file():
            return read_keypoints(folder / name, n_vertices)
    raise ModelFileError(
        f"{folder}: {model} does not say where its 68 landmarks are; "
        f"give a keypoint file, or put one beside it as {' or '.join(NAMES)}"
    )
