"""Reader of ICT-FaceKit (Li et al. 2020, MIT licence) as its repository has it: the folder `FaceXModel`.

generic_neutral_mesh.obj    neutral face with texture coordinates, mostly quads; cm, y up
identity000.obj ...         one standard deviation of each identity mode, the same vertices
<expression>.obj ...        full strength of each expression
vertex_indices.json         expressions: their names in order; idx_to_landmark_verts: the 68 landmarks from 0
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
from bfm_assets.errors import ModelFileError, check_bytes, reading
from bfm_assets.ict import ict_model
from bfm_assets.keypoints import read_keypoints
from bfm_assets.schema import Floats, MorphableModel

NEUTRAL = "generic_neutral_mesh.obj"
_INDICES = "vertex_indices.json"
_MAX_FILE = 2**27


def read_ict_folder(path: str | Path, keypoints: str | Path | None = None) -> MorphableModel:
    """ICT-FaceKit from its folder of OBJ files; `keypoints` replaces its landmarks."""
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
    """How the meshes called `names` differ from the neutral one (V, 3): (len(names), V, 3)."""
    check_bytes(4 * len(names) * neutral.size, "the model")
    found = np.empty((len(names), *neutral.shape), np.float32)
    for row, name in zip(found, names, strict=True):
        path = folder / f"{name}.obj"
        with reading(path, "OBJ file"):
            vertices = _vectors(_lines(path), b"v ", 3)
            if vertices.shape != neutral.shape:
                raise ModelFileError(f"{len(vertices)} vertices, the neutral mesh has {len(neutral)}")
            row[:] = vertices - neutral
    return found


def _content(path: Path) -> bytes:
    if path.stat().st_size > _MAX_FILE:
        raise ModelFileError(f"{path.stat().st_size / 1e6:.0f} MB, no file of the model is that large")
    return path.read_bytes()


def _lines(path: Path) -> list[bytes]:
    return _content(path).split(b"\n")


def _vectors(lines: list[bytes], key: bytes, size: int) -> Floats:
    """The first `size` numbers of every line that starts with `key`: (N, size)."""
    words = b" ".join(line[len(key) :] for line in lines if line.startswith(key)).split()
    found = np.array(words, np.float64)
    count = sum(line.startswith(key) for line in lines)
    if not count or found.size != size * count:
        raise ModelFileError(f"{found.size} numbers in {count} lines '{key.decode().strip()}', not {size} a line")
    return convert.numbers(found.reshape(count, size), key.decode())


def _triangles(lines: list[bytes]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Vertex and texture indices (F, 3) of faces `f v/vt v/vt ...`, from 0, polygons cut into fans."""
    fans: list[list[tuple[int, ...]]] = []
    for line in lines:
        if line.startswith(b"f "):
            corners = [tuple(int(index) for index in word.split(b"/")[:2]) for word in line.split()[1:]]
            fans.extend([corners[0], *pair] for pair in pairwise(corners[1:]))
    found = np.array(fans)
    if found.ndim != 3 or found.shape[1:] != (3, 2):
        raise ModelFileError("faces are not 'f v/vt v/vt v/vt'")
    return found[..., 0] - 1, found[..., 1] - 1
