"""Smooth deformation: displacements given at handle vertices, spread over the mesh with the least bending.

The displacement field minimises the surface's discrete biharmonic energy (cotangent Laplacian, Botsch and Kobbelt
2004), so it is smooth across the skin and may jump across the gaps between the lips and between the lids.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix, csc_matrix, diags
from scipy.sparse.linalg import splu

from bfm_assets.openface import controls, mesh, rings
from bfm_assets.openface.head import Head

Points = NDArray[np.float64]
Indices = NDArray[np.intp]
Floats = NDArray[np.float64]


def vertex_areas(vertices: Points, triangles: Indices) -> Floats:
    """A third of the area of the triangles around each vertex: (V,)."""
    a, b, c = (vertices[triangles[:, k]] for k in range(3))
    third = np.linalg.norm(np.cross(b - a, c - a), axis=1) / 6
    total = np.zeros(len(vertices))
    for k in range(3):
        np.add.at(total, triangles[:, k], third)
    return total


def cotangent_laplacian(vertices: Points, triangles: Indices) -> csc_matrix:
    """The (V, V) stiffness matrix of linear elements, with obtuse angles' negative weights cut off."""
    rows, columns, values = [], [], []
    for k in range(3):
        i, j, opposite = triangles[:, (k + 1) % 3], triangles[:, (k + 2) % 3], triangles[:, k]
        u, v = vertices[i] - vertices[opposite], vertices[j] - vertices[opposite]
        cotangent = (u * v).sum(1) / np.linalg.norm(np.cross(u, v), axis=1)
        weight = np.clip(cotangent, 0.02, 10) / 2
        rows += [i, j]
        columns += [j, i]
        values += [weight, weight]
    adjacency = coo_matrix((np.concatenate(values), (np.concatenate(rows), np.concatenate(columns)))).tocsc()
    return csc_matrix(diags(np.asarray(adjacency.sum(1)).ravel()) - adjacency)


def handle_vertices(head: Head) -> Indices:
    """The sorted vertices that carry handles: landmarks, control points, all edge loops and the border."""
    drawn = np.array([*controls.MIDLINE, *controls.SIDE])
    plane = mesh.unroll(drawn)
    skin = head.plane[~np.isnan(head.plane[:, 0])]
    nearest = np.array([np.linalg.norm(skin - p, axis=1).argmin() for p in plane])
    loops = np.concatenate([head.eyes[:, :-1].ravel(), head.mouth[:, : rings.MOUTH_BORDER + 1].ravel()])
    half = np.concatenate([head.landmarks, nearest, loops, head.border[::2]])
    return np.unique(np.concatenate([half, head.mirror[half]]))


class Spreader:
    """Spreads displacements of the handles over the skin.

    Attributes:
        handles: (C,) vertex indices.
        weights: (V_skin, C) matrix from displacements at the handles to displacements of all skin vertices.
    """

    def __init__(self, head: Head) -> None:
        n_skin = int((~np.isnan(head.plane[:, 0])).sum())
        vertices = head.vertices[:n_skin]
        triangles = head.triangles[(head.triangles < n_skin).all(1)]
        stiffness = cotangent_laplacian(vertices, triangles)
        bending = (stiffness @ diags(1 / vertex_areas(vertices, triangles)) @ stiffness).tocsc()
        self.handles = handle_vertices(head)
        free = np.setdiff1d(np.arange(n_skin), self.handles)
        weights = np.zeros((n_skin, len(self.handles)))
        weights[self.handles, np.arange(len(self.handles))] = 1
        weights[free] = -splu(bending[free][:, free]).solve(bending[free][:, self.handles].toarray())
        mirrored = np.searchsorted(self.handles, head.mirror[self.handles])
        self.weights = (weights + weights[head.mirror[:n_skin]][:, mirrored]) / 2
        self._head = head

    def __call__(self, displacement: Points) -> Points:
        """Displacements (V, 3) of all vertices, from given ones (V, 3): the skin's as read at the handles only.

        Each eyeball moves by the affine map closest to what is given for it.
        """
        out = np.zeros_like(self._head.vertices)
        out[: len(self.weights)] = self.weights @ displacement[self.handles]
        for ball in self._head.eyeballs:
            place = np.column_stack([self._head.vertices[ball], np.ones(len(ball))])
            out[ball] = place @ np.linalg.lstsq(place, displacement[ball], rcond=None)[0]
        return out
