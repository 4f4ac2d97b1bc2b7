"""The layout of parameter vectors, and their whitening. No other file knows that the pose comes first.

A parameter vector (..., 12 + S + E) describes one face in one crop:

    pose         12   flattened 3x4 matrix `[s R | t]` in crop pixels (see `synergy.geometry`)
    shape         S   raw coefficients of the morphable model's shape basis
    expression    E   raw coefficients of its expression basis

The counts S and E are properties of the morphable model. "Coefficients" means shape followed by expression, which is
also the order of `MorphableModel.basis`. All functions take numpy arrays and torch tensors of any leading shape.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, cast

import numpy as np
import torch
from torch import Tensor

from bfm_assets import MorphableModel
from synergy.geometry import A, compose_pose, decompose_pose

N_POSE = 12


def count_parameters(model: MorphableModel) -> int:
    """Return the length 12 + S + E of a morphable model's parameter vectors."""
    return N_POSE + model.n_shape + model.n_expression


def split_pose(params: A) -> tuple[A, A]:
    """Split parameters into pose and coefficients.

    Args:
        params: (..., 12 + S + E).

    Returns:
        Pose (..., 12) and coefficients (..., S + E), both views.
    """
    return params[..., :N_POSE], params[..., N_POSE:]


def split_parameters(params: A, n_shape: int) -> tuple[A, A, A]:
    """Split parameters into pose, shape and expression.

    Args:
        params: (..., 12 + S + E).
        n_shape: S.

    Returns:
        Pose (..., 12), shape (..., S) and expression (..., E), all views.
    """
    end = N_POSE + n_shape
    return params[..., :N_POSE], params[..., N_POSE:end], params[..., end:]


def join_parameters(pose: A, *coefficients: A) -> A:
    """Join a pose and its coefficients, the inverse of `split_pose` and `split_parameters`.

    Args:
        pose: (..., 12).
        coefficients: shape (..., S) and expression (..., E), or both in one array (..., S + E).

    Returns:
        Parameters (..., 12 + S + E).
    """
    parts: Any = (pose, *coefficients)
    joined: Any = torch.cat(parts, -1) if isinstance(pose, Tensor) else np.concatenate(parts, -1)
    return cast(A, joined)


def make_pose_rigid(params: Tensor) -> Tensor:
    """Replace the pose of parameters by the nearest scaled rotation (`synergy.geometry.decompose_pose`).

    A network's 12 pose outputs are any 3x4 matrix. After this step the landmarks, the mesh and the reported angles
    all follow from the same rotation.

    Args:
        params: (..., 12 + S + E).
    """
    pose, coefficients = split_pose(params)
    return join_parameters(compose_pose(*decompose_pose(pose)), coefficients)


def translate(params: A, x: float = 0.0, y: float = 0.0, z: float = 0.0) -> A:
    """Move faces in the camera's frame (x right, y up, z towards the camera).

    Args:
        params: (..., 12 + S + E).
        x, y, z: in crop pixels.

    Returns:
        A copy of the parameters with another translation.
    """
    shift: Any = np.zeros(params.shape[-1], np.float32)
    shift[:N_POSE].reshape(3, 4)[:, 3] = x, y, z
    return params + (torch.from_numpy(shift).to(params) if isinstance(params, Tensor) else shift)


@dataclass(frozen=True, eq=False)
class Whitening(Generic[A]):
    """Mean and standard deviation that scale each parameter to zero mean and unit variance.

    Attributes:
        mean, std: (12 + S + E,).
    """

    mean: A
    std: A

    def whiten(self, params: A) -> A:
        """Scale parameters (..., 12 + S + E) to zero mean and unit variance."""
        return (params - self.mean) / self.std

    def dewhiten(self, whitened: A) -> A:
        """Return the parameters (..., 12 + S + E) of whitened ones, the inverse of `whiten`."""
        return whitened * self.std + self.mean
