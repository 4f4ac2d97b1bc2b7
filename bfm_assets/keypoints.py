"""Read keypoint files: the 68 landmark vertices of models that do not carry them.

A keypoint file is a `.npy` array, or text whose indices are separated by spaces, commas or line ends. It holds 68
vertex indices in iBUG order, counted from 0, or 3DDFA's 204 coordinate indices (`keypoints_sim.npy`).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bfm_assets import convert
from bfm_assets.safe_files import ModelFileError, read_array, reading
from bfm_assets.schema import Ints

# Names of keypoint files next to a model, in the order in which they are tried.
NAMES = ("keypoints_sim.npy", "keypoints.npy", "keypoints.txt")
_MAX_CHARACTERS = 100_000


def read_keypoints(path: str | Path, n_vertices: int) -> Ints:
    """Read the landmark vertices (68,) in a keypoint file.

    Args:
        path: the keypoint file.
        n_vertices: number of vertices of the model.

    Raises:
        ModelFileError: the file is missing or damaged, or its indices are invalid.
    """
    path = Path(path)
    with reading(path, "keypoint file"):
        if path.suffix == ".npy":
            array = read_array(path)
        else:
            with path.open() as file:
                array = np.array([int(word) for word in file.read(_MAX_CHARACTERS).replace(",", " ").split()])
        return convert.landmarks(array, n_vertices, 0, "the keypoint array")


def find_keypoints(given: str | Path | None, folder: Path, n_vertices: int, model: str) -> Ints:
    """Read the landmark vertices (68,) of a model that does not carry them.

    Args:
        given: keypoint file, or None to use the one in `folder`.
        folder: folder of the model.
        n_vertices: number of vertices of the model.
        model: name of the format, for the message.

    Raises:
        ModelFileError: there is no keypoint file, or it cannot be used.
    """
    if given is not None:
        return read_keypoints(given, n_vertices)
    for name in NAMES:
        if (folder / name).is_file():
            return read_keypoints(folder / name, n_vertices)
    raise ModelFileError(
        f"{folder}: {model} does not say where its 68 landmarks are; "
        f"give a keypoint file, or put {' or '.join(NAMES)} next to the model"
    )
