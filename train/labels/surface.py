"""A dense face surface that passes exactly through 68 given 3D landmarks."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from bfm_assets.schema import MorphableModel
from synergy.errors import UserError
from synergy.geometry import flip_y
from train.labels.fit import Basis
from train.labels.landmarks3d import fit_landmarks3d

Floats = NDArray[np.floating]


class SurfaceFitter:
    """Fits a dense `MorphableModel` to 3D landmarks, then bends it to pass through them.

    The bend spreads each landmark's residual over the mesh by radial basis functions r -> r about the mean face's
    landmarks (the 3D biharmonic kernel), so that between landmarks it is as smooth as can be.
    """

    def __init__(self, model: MorphableModel) -> None:
        if not model.is_dense:
            raise UserError(f"model '{model.name}' has no mesh: profiling needs a dense one, such as the open face")
        self.model = model
        self.basis = Basis.of(model)

    @cached_property
    def _spread(self) -> Floats:
        """(V, 68) influence of each landmark's residual on each vertex; exactly one at its own."""
        at = self.model.mean[self.model.landmarks].astype(np.float64)
        vertices = self.model.mean.astype(np.float64)
        between = np.linalg.norm(at[:, None] - at, axis=-1)
        to_mesh = np.linalg.norm(vertices[:, None] - at, axis=-1)
        scale = between.max()
        affine, mesh_affine = (np.concatenate([np.ones((len(p), 1)), p / scale], 1) for p in (at, vertices))
        system = np.block([[between / scale, affine], [affine.T, np.zeros((4, 4))]])
        weights = np.linalg.solve(system, np.eye(len(at) + 4, len(at)))
        return (np.concatenate([to_mesh / scale, mesh_affine], 1) @ weights).astype(np.float32)

    def surfaces(self, landmarks: Floats) -> Floats:
        """Vertices (N, V, 3) in image pixels that pass through landmarks (N, 68, 3)."""
        landmarks = np.asarray(landmarks, np.float32)
        faces = fit_landmarks3d(self.basis, landmarks)
        shape, expression = (array.numpy() for array in faces.raw_coefficients(self.basis))
        pose = faces.pose(self.basis, 0.0).numpy().reshape(-1, 3, 4).astype(np.float32)
        out = np.empty((len(landmarks), self.model.n_vertices, 3), np.float32)
        for i, target in enumerate(landmarks):
            placed = flip_y(self.model.vertices(shape[i], expression[i]) @ pose[i, :, :3].T + pose[i, :, 3])
            out[i] = placed + self._spread @ (target - placed[self.model.landmarks])
        return out
