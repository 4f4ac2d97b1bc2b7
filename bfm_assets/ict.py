"""Read ICT-FaceKit (Li et al. 2020, MIT licence) packed as one `.npz` file.

Arrays:
    neutral                  (V, 3) in centimetres, y up
    identity                 (S, V, 3) displacements of one standard deviation
    expression               (E, V, 3) displacements of full strength
    expression_names         (E,)
    triangles, triangles_uv  (F, 3) indices from 0 of vertices, and of rows of uv
    uv                       (T, 2)
    landmarks68              (68,) vertex indices in iBUG order, from 0
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bfm_assets import convert
from bfm_assets.keypoints import read_keypoints
from bfm_assets.safe_files import ModelFileError, read_arrays, reading
from bfm_assets.schema import Floats, Ints, MorphableModel

_ARRAYS = ("neutral", "identity", "expression", "expression_names", "triangles", "uv", "triangles_uv", "landmarks68")

ASSUMPTIONS = (
    "units are centimetres",
    "an identity shape is one standard deviation",
    "an expression shape is full strength, which is two standard deviations of the prior",
    "a vertex on a texture seam keeps the first of its texture coordinates",
)


def read_ict(path: str | Path, keypoints: str | Path | None = None) -> MorphableModel:
    """Read the packed ICT-FaceKit model.

    Args:
        path: the `.npz` file.
        keypoints: keypoint file (`bfm_assets.keypoints`) that replaces the landmarks of the model.

    Returns:
        The model in centimetres, with named expressions and texture coordinates.

    Raises:
        ModelFileError: a file is missing, damaged, incomplete or inconsistent.

    Example:
        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> arrays = {"neutral": np.ones((68, 3)), "identity": np.ones((2, 68, 3)), "expression": np.ones((1, 68, 3))}
        >>> arrays |= {"expression_names": np.array(["jawOpen"]), "landmarks68": np.arange(68), "uv": np.zeros((1, 2))}
        >>> arrays |= {"triangles": np.array([[0, 1, 2]]), "triangles_uv": np.array([[0, 0, 0]])}
        >>> with TemporaryDirectory() as folder:
        ...     np.savez(Path(folder, "ict.npz"), **arrays)
        ...     model = read_ict(Path(folder, "ict.npz"))
        >>> model.n_shape, model.expression_names, model.mm_per_unit
        (2, ('jawOpen',), 10.0)
    """
    arrays = read_arrays(path, _ARRAYS, "packed ICT-FaceKit")
    with reading(path, "packed ICT-FaceKit"):
        neutral = convert.points(arrays["neutral"], "neutral")
        return ict_model(
            neutral=neutral,
            identity=arrays["identity"],
            expression=arrays["expression"],
            expression_names=tuple(str(name) for name in arrays["expression_names"].ravel()),
            triangles=arrays["triangles"],
            uv=arrays["uv"],
            triangles_uv=arrays["triangles_uv"],
            landmarks=arrays["landmarks68"] if keypoints is None else read_keypoints(keypoints, len(neutral)),
        )


def ict_model(
    neutral: Floats,
    identity: NDArray[Any],
    expression: NDArray[Any],
    expression_names: tuple[str, ...],
    triangles: NDArray[Any],
    uv: NDArray[Any],
    triangles_uv: NDArray[Any],
    landmarks: NDArray[Any],
) -> MorphableModel:
    """Make the model of ICT-FaceKit's arrays.

    Args:
        neutral: (V, 3) in centimetres.
        identity: (S, V, 3) displacements of one standard deviation.
        expression: (E, V, 3) displacements of full strength.
        expression_names: E names.
        triangles: (F, 3) vertex indices from 0.
        uv: (T, 2) texture coordinates.
        triangles_uv: (F, 3) indices from 0 of rows of `uv`.
        landmarks: (68,) vertex indices from 0.

    Raises:
        ModelFileError: the arrays are inconsistent.
    """
    n = len(neutral)
    rows = convert.indices(triangles, n, 0, "triangles")
    corners_uv = convert.indices(triangles_uv, len(uv), 0, "triangles_uv")
    if rows.shape != corners_uv.shape:
        raise ModelFileError(f"triangles is {rows.shape} but triangles_uv is {corners_uv.shape}")
    return MorphableModel(
        name="ict-facekit",
        licence="MIT",
        mean=neutral,
        shape_basis=_as_basis(identity, n, "identity"),
        shape_std=np.ones(len(identity), np.float32),
        expression_basis=_as_basis(expression, n, "expression"),
        # An expression coefficient lies between 0 and 1 (full strength). This prior keeps fits near that range.
        expression_std=np.full(len(expression), 0.5, np.float32),
        triangles=convert.triangles(rows, neutral, 0, "triangles"),
        landmarks=convert.landmarks(landmarks, n, 0, "landmarks"),
        mm_per_unit=10.0,
        expression_names=expression_names,
        uv=_uv_per_vertex(n, rows, corners_uv, convert.numbers(uv, "uv")),
    )


def _as_basis(displacements: NDArray[Any], n_vertices: int, what: str) -> Floats:
    """Convert displacements (K, V, 3) to a basis (V, 3, K)."""
    array = convert.numbers(displacements, what)
    if array.ndim != 3 or array.shape[1:] != (n_vertices, 3):
        raise ModelFileError(f"{what} is {array.shape}, expected displacements of {n_vertices} vertices")
    return np.ascontiguousarray(array.transpose(1, 2, 0))


def _uv_per_vertex(n_vertices: int, triangles: Ints, triangles_uv: Ints, uv: Floats) -> Floats:
    """Return one texture coordinate per vertex (V, 2): that of its first corner."""
    per_vertex = np.zeros((n_vertices, 2), np.float32)
    vertex, first = np.unique(triangles, return_index=True)
    per_vertex[vertex] = uv[triangles_uv.ravel()[first]]
    return per_vertex
