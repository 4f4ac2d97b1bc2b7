"""Coarser versions of a face mesh, whose edges can still be distinguished in a small picture."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import dijkstra

from bfm_assets import MorphableModel

Ints = NDArray[np.int32]

# Numbers of vertices of the coarse meshes.
_LEVELS = (150, 300, 600, 1200)


def wire_triangles(model: MorphableModel, edge: float) -> Ints:
    """Return a triangulation of the face region whose mean edge is about a length, or somewhat longer.

    Args:
        model: a model with a mesh.
        edge: in model units.

    Returns:
        (F, 3) vertex indices: the face region of the model itself, or a coarse mesh of some of its vertices.
    """
    triangles = model.face_triangles
    mean_edge = _mean_edge(model)
    if mean_edge >= edge:
        return triangles
    # The area of a triangle, and with it the square of an edge, is inversely proportional to the number of vertices.
    n_vertices = len(np.unique(triangles)) * (mean_edge / edge) ** 2
    level = max((level for level in _LEVELS if level <= n_vertices), default=_LEVELS[0])
    return _coarse_triangles(model, level)


@lru_cache(maxsize=4 * len(_LEVELS))
def _coarse_triangles(model: MorphableModel, n_vertices: int) -> Ints:
    """Triangulate the landmarks, and other vertices that are spread evenly over the face region.

    Each vertex of the mesh is assigned to the nearest chosen vertex, measured along edges. Where a triangle of the mesh
    touches three chosen vertices' areas, these form a triangle of the coarse mesh (a geodesic Delaunay triangulation).
    """
    triangles = model.face_triangles
    ends = triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
    length = np.linalg.norm(model.mean[ends[:, 0]] - model.mean[ends[:, 1]], axis=1).astype(np.float64)
    ends, first = np.unique(np.sort(ends, 1), axis=0, return_index=True)
    graph = coo_array((length[first], (ends[:, 0], ends[:, 1])), shape=(model.n_vertices,) * 2).tocsr()
    used = np.unique(triangles)
    chosen = list(dict.fromkeys(model.landmarks.tolist()))
    points = np.ascontiguousarray(model.mean[used])
    distance = np.linalg.norm(points[:, None] - model.mean[chosen], axis=-1).min(1)
    # Farthest-point sampling: the next vertex is the one that is farthest from those that are chosen.
    while len(chosen) < min(n_vertices, len(used)):
        chosen.append(int(used[distance.argmax()]))
        distance = np.minimum(distance, np.linalg.norm(points - model.mean[chosen[-1]], axis=1))
    _, _, nearest = dijkstra(graph, directed=False, indices=chosen, min_only=True, return_predecessors=True)
    dual = nearest[triangles]
    dual = dual[(dual[:, 0] != dual[:, 1]) & (dual[:, 1] != dual[:, 2]) & (dual[:, 2] != dual[:, 0])]
    _, first = np.unique(np.sort(dual, 1), axis=0, return_index=True)
    return dual[np.sort(first)].astype(np.int32)


@lru_cache(maxsize=4)
def _mean_edge(model: MorphableModel) -> float:
    """Return the mean length of the edges of the mean face region, in model units."""
    corners = model.mean[model.face_triangles]
    return float(np.linalg.norm(corners - np.roll(corners, 1, 1), axis=-1).mean())
