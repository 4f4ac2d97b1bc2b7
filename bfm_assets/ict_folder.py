"""Read the folder `FaceXModel` of ICT-FaceKit's repository (Li et al. 2020, MIT licence).

generic_neutral_mesh.obj    neutral face with texture coordinates, mostly quads; centimetres, y up
identity000.obj ...         the neutral face plus one standard deviation of an identity mode
<expression>.obj ...        the neutral face plus an expression of full strength
vertex_indices.json         expressions: their names in order; idx_to_landmark_verts: 68 vertex indices from 0
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bfm_assets import convert
from bfm_assets.ict import ict_model
from bfm_assets.keypoints import read_keypoints
from bfm_assets.safe_files import ModelFileError, check_bytes, reading
from bfm_assets.schema import Floats, MorphableModel

NEUTRAL = "generic_neutral_mesh.obj"
_INDICES = "vertex_indices.json"
_MAX_FILE = 2**27


def read_ict_folder(path: str | Path, keypoints: str | Path | None = None) -> MorphableModel:
    """Read ICT-FaceKit from its folder of OBJ files.

    Args:
        path: the folder.
        keypoints: keypoint file (`bfm_assets.keypoints`) that replaces the landmarks of the model.

    Raises:
        ModelFileError: a file is missing, damaged or inconsistent.
    """
    folder = Path(path)
    with reading(folder / NEUTRAL, "OBJ file"):
        lines = _lines(folder / NEUTRAL)
        neutral = _vectors(lines, b"v ", 3)
        uv = _vectors(lines, b"vt ", 2)
        triangles, triangles_uv = _triangles(lines)
    with reading(folder / _INDICES, "vertex_indices.json"):
        info = json.loads(_content(folder / _INDICES))
        landmarks, names = np.array(info["idx_to_landmark_verts"]), tuple(info["expressions"])
        if not all(isinstance(name, str) and Path(name).name == name for name in names):
            raise ModelFileError("expressions are not file names")
    identities = sorted(file.stem for file in folder.glob("identity*.obj"))
    with reading(folder, "ICT-FaceKit folder"):
        return ict_model(
            neutral=neutral,
            identity=_displacements(folder, identities, neutral),
            expression=_displacements(folder, names, neutral),
            expression_names=names,
            triangles=triangles,
            uv=uv,
            triangles_uv=triangles_uv,
            landmarks=landmarks if keypoints is None else read_keypoints(keypoints, len(neutral)),
        )


def _displacements(folder: Path, names: Sequence[str], neutral: Floats) -> Floats:
    """Read K meshes by name and subtract the neutral one (V, 3): (K, V, 3)."""
    check_bytes(4 * len(names) * neutral.size, "the model")
    displacements = np.empty((len(names), *neutral.shape), np.float32)
    for row, name in zip(displacements, names, strict=True):
        path = folder / f"{name}.obj"
        with reading(path, "OBJ file"):
            vertices = _vectors(_lines(path), b"v ", 3)
            if vertices.shape != neutral.shape:
                raise ModelFileError(f"{len(vertices)} vertices, the neutral mesh has {len(neutral)}")
            row[:] = vertices - neutral
    return displacements


def _content(path: Path) -> bytes:
    if path.stat().st_size > _MAX_FILE:
        raise ModelFileError(f"{path.stat().st_size / 1e6:.0f} MB, more than any file of the model")
    return path.read_bytes()


def _lines(path: Path) -> list[bytes]:
    return _content(path).split(b"\n")


def _vectors(lines: list[bytes], key: bytes, size: int) -> Floats:
    """Read the numbers of all N lines that start with `key`: (N, size)."""
    words = b" ".join(line[len(key) :] for line in lines if line.startswith(key)).split()
    values = np.array(words, np.float64)
    count = sum(line.startswith(key) for line in lines)
    if not count or values.size != size * count:
        raise ModelFileError(
            f"{values.size} numbers in {count} lines '{key.decode().strip()}', expected {size} per line"
        )
    return convert.numbers(values.reshape(count, size), key.decode())


def _triangles(lines: list[bytes]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Read vertex and texture indices (F, 3), from 0, of lines `f v/vt v/vt ...`. Polygons become triangle fans."""
    fans: list[list[tuple[int, ...]]] = []
    for line in lines:
        if line.startswith(b"f "):
            corners = [tuple(int(index) for index in word.split(b"/")[:2]) for word in line.split()[1:]]
            fans.extend([corners[0], *pair] for pair in pairwise(corners[1:]))
    corners_of_triangles = np.array(fans)
    if corners_of_triangles.ndim != 3 or corners_of_triangles.shape[1:] != (3, 2):
        raise ModelFileError("faces are not 'f v/vt v/vt v/vt'")
    return corners_of_triangles[..., 0] - 1, corners_of_triangles[..., 1] - 1
