"""Reader of ICT-FaceKit (Li et al. 2020, MIT licence) packed as one `.npz`.

Arrays: neutral (V, 3) in cm, y up; identity (S, V, 3) and expression (E, V, 3) as displacements of one standard
deviation and of full strength; triangles, uv, triangles_uv; landmarks68, the Multi-PIE indices.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bfm_assets.npz import read_arrays
from bfm_assets.schema import MorphableModel

_ARRAYS = ("neutral", "identity", "expression", "expression_names", "triangles", "uv", "triangles_uv", "landmarks68")


def read_ict(path: str | Path) -> MorphableModel:
    """The ICT-FaceKit model; each vertex on a texture seam keeps the first of its texture coordinates."""
    arrays = read_arrays(path, _ARRAYS, "packed ICT-FaceKit")
    neutral = arrays["neutral"].astype(np.float32)
    return MorphableModel(
        name="ict-facekit",
        licence="MIT",
        mean=neutral,
        shape_basis=_as_basis(arrays["identity"]),
        shape_std=np.ones(len(arrays["identity"]), np.float32),
        expression_basis=_as_basis(arrays["expression"]),
        # Full strength is 1 and strengths are not negative: a prior of one half keeps fits in that range.
        expression_std=np.full(len(arrays["expression"]), 0.5, np.float32),
        triangles=arrays["triangles"].astype(np.int32),
        landmarks=arrays["landmarks68"].astype(np.int32),
        mm_per_unit=10.0,
        expression_names=tuple(arrays["expression_names"].tolist()),
        uv=_uv_per_vertex(len(neutral), arrays["triangles"], arrays["triangles_uv"], arrays["uv"]),
    )


def _as_basis(displacements: NDArray[np.floating]) -> NDArray[np.float32]:
    return np.ascontiguousarray(displacements.astype(np.float32).transpose(1, 2, 0))


def _uv_per_vertex(
    n_vertices: int, triangles: NDArray[np.int32], triangles_uv: NDArray[np.int32], uv: NDArray[np.floating]
) -> NDArray[np.float32]:
    per_vertex = np.zeros((n_vertices, 2), np.float32)
    vertex, first = np.unique(triangles, return_index=True)
    per_vertex[vertex] = uv[triangles_uv.ravel()[first]]
    return per_vertex
