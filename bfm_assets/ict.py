"""Reader of ICT-FaceKit (Li et al. 2020, MIT licence) packed as one `.npz`.

Arrays: neutral (V, 3) in cm, y up; identity (S, V, 3) and expression (E, V, 3) as displacements of one standard
deviation and of full strength; triangles, uv, triangles_uv; landmarks68, the Multi-PIE indices.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bfm_assets import convert
from bfm_assets.errors import ModelFileError, reading
from bfm_assets.keypoints import read_keypoints
from bfm_assets.licences import ICT_FACEKIT
from bfm_assets.npz import read_arrays
from bfm_assets.schema import Floats, Ints, MorphableModel

_ARRAYS = ("neutral", "identity", "expression", "expression_names", "triangles", "uv", "triangles_uv", "landmarks68")

ASSUMED = (
    "units are centimetres",
    "an identity shape is one standard deviation, an expression shape full strength: two standard deviations",
    "a vertex on a texture seam keeps the first of its texture coordinates",
)


def read_ict(path: str | Path, keypoints: str | Path | None = None) -> MorphableModel:
    """The packed ICT-FaceKit model; `keypoints` replaces its landmarks."""
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
    """The model of ICT-FaceKit's arrays: neutral (V, 3), displacements (S or E, V, 3), indices from 0."""
    n = len(neutral)
    rows = convert.indices(triangles, n, 0, "triangles")
    corners_uv = convert.indices(triangles_uv, len(uv), 0, "triangles_uv")
    if rows.shape != corners_uv.shape:
        raise ModelFileError(f"triangles is {rows.shape} but triangles_uv is {corners_uv.shape}")
    return MorphableModel(
        name="ict-facekit",
        licence=ICT_FACEKIT,
        mean=neutral,
        shape_basis=_as_basis(identity, n, "identity"),
        shape_std=np.ones(len(identity), np.float32),
        expression_basis=_as_basis(expression, n, "expression"),
        # Full strength is 1 and strengths are not negative: a prior of one half keeps fits in that range.
        expression_std=np.full(len(expression), 0.5, np.float32),
        triangles=convert.triangles(rows, neutral, 0, "triangles"),
        landmarks=convert.landmarks(landmarks, n, 0, "landmarks"),
        mm_per_unit=10.0,
        expression_names=expression_names,
        uv=_uv_per_vertex(n, rows, corners_uv, convert.numbers(uv, "uv")),
    )


def _as_basis(displacements: NDArray[Any], n_vertices: int, what: str) -> Floats:
    found = convert.numbers(displacements, what)
    if found.ndim != 3 or found.shape[1:] != (n_vertices, 3):
        raise ModelFileError(f"{what} is {found.shape}, expected displacements of {n_vertices} vertices")
    return np.ascontiguousarray(found.transpose(1, 2, 0))


def _uv_per_vertex(n_vertices: int, triangles: Ints, triangles_uv: Ints, uv: Floats) -> Floats:
    per_vertex = np.zeros((n_vertices, 2), np.float32)
    vertex, first = np.unique(triangles, return_index=True)
    per_vertex[vertex] = uv[triangles_uv.ravel()[first]]
    return per_vertex
