"""A dense face surface that passes exactly through 68 given 3D landmarks."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from bfm_assets.schema import MorphableModel
from synergy.camera import project
from synergy.errors import UserError
from synergy.parameters import split_parameters
from train.relabel import fit_coefficients

Floats = NDArray[np.floating]

# Standard deviation of landmark coordinates about the dense model, in face sizes.
_FIT_NOISE = 0.01


class SurfaceFitter:
    """Fit a dense morphable model to 3D landmarks, then deform it until it passes through them.

    The deformation interpolates the residuals of the landmarks over the mesh by radial basis functions r -> r plus an
    affine map (the 3D biharmonic kernel). It is as smooth as the residuals allow.

    Args:
        model: a morphable model with a mesh.
    """

    def __init__(self, model: MorphableModel) -> None:
        if not model.is_dense:
            raise UserError(f"model '{model.name}' has no mesh: profiling needs a dense one, such as the open face")
        self.model = model

    @cached_property
    def _influence(self) -> Floats:
        """(V, 68) influence of each landmark's residual on each vertex, 1 at the landmark itself."""
        vertices = self.model.mean.astype(np.float64)
        landmarks = vertices[self.model.landmarks]
        between = np.linalg.norm(landmarks[:, None] - landmarks, axis=-1)
        to_mesh = np.linalg.norm(vertices[:, None] - landmarks, axis=-1)
        scale = between.max()
        affine, mesh_affine = (np.concatenate([np.ones((len(p), 1)), p / scale], 1) for p in (landmarks, vertices))
        system = np.block([[between / scale, affine], [affine.T, np.zeros((4, 4))]])
        weights = np.linalg.solve(system, np.eye(len(landmarks) + 4, len(landmarks)))
        return (np.concatenate([to_mesh / scale, mesh_affine], 1) @ weights).astype(np.float32)

    def surfaces(self, landmarks: Floats, rotation: Floats) -> Floats:
        """Return surfaces through landmarks.

        Args:
            landmarks: (N, 68, 3) in image pixels, y down.
            rotation: (N, 3, 3) from model to camera axes.

        Returns:
            Vertices (N, V, 3) in image pixels, y down.
        """
        landmarks = np.asarray(landmarks, np.float32)
        params = fit_coefficients(self.model, landmarks, rotation, side=0, noise=_FIT_NOISE)
        pose, shape, expression = (torch.from_numpy(part) for part in split_parameters(params, self.model.n_shape))
        vertices = torch.from_numpy(self.model.vertices(shape.numpy(), expression.numpy()))
        placed = project(vertices, pose, 0.0).numpy()
        return placed + self._influence @ (landmarks - placed[:, self.model.landmarks])
