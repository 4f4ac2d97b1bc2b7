"""The layout of parameter vectors, and their whitening. Only this file defines the order of the parts.

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
    """Return the length 12 + S + E of a morphable model's parameter vectors.

    Example:
        >>> from bfm_assets import open_face
        >>> model = open_face()
        >>> count_parameters(model) == 12 + model.n_shape + model.n_expression
        True
    """
    return N_POSE + model.n_shape + model.n_expression


def split_pose(params: A) -> tuple[A, A]:
    """Split parameters into pose and coefficients.

    Args:
        params: (..., 12 + S + E).

    Returns:
        Pose (..., 12) and coefficients (..., S + E). Both share the memory of `params`.

    Example:
        >>> pose, coefficients = split_pose(np.zeros((5, 62)))
        >>> pose.shape, coefficients.shape
        ((5, 12), (5, 50))
    """
    return params[..., :N_POSE], params[..., N_POSE:]


def split_parameters(params: A, n_shape: int) -> tuple[A, A, A]:
    """Split parameters into pose, shape and expression.

    Args:
        params: (..., 12 + S + E).
        n_shape: S.

    Returns:
        Pose (..., 12), shape (..., S) and expression (..., E). All share the memory of `params`.

    Example:
        >>> pose, shape, expression = split_parameters(np.zeros(62), n_shape=40)
        >>> pose.shape, shape.shape, expression.shape
        ((12,), (40,), (10,))
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

    Example:
        >>> join_parameters(np.zeros(12), np.zeros(40), np.zeros(10)).shape
        (62,)
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

    Returns:
        Parameters (..., 12 + S + E) with the same coefficients.

    Example:
        >>> stretched = torch.tensor([[2.0, 0, 0, 60], [0, 4, 0, 50], [0, 0, 1, 0]]).reshape(12)
        >>> make_pose_rigid(stretched).reshape(3, 4).round(decimals=3).tolist()
        [[3.0, 0.0, 0.0, 60.0], [0.0, 3.0, 0.0, 50.0], [0.0, 0.0, 3.0, 0.0]]
    """
    pose, coefficients = split_pose(params)
    return join_parameters(compose_pose(*decompose_pose(pose)), coefficients)


def translate(params: A, x: float = 0.0, y: float = 0.0, z: float = 0.0) -> A:
    """Move faces in the camera's frame (x right, y up, z towards the camera).

    Args:
        params: (..., 12 + S + E).
        x: shift to the right in crop pixels.
        y: shift upwards in crop pixels.
        z: shift towards the camera in crop pixels.

    Returns:
        A copy of the parameters with another translation.

    Example:
        >>> translate(np.zeros(12), x=5.0).reshape(3, 4)[:, 3].tolist()
        [5.0, 0.0, 0.0]
    """
    shift: Any = np.zeros(params.shape[-1], np.float32)
    shift[:N_POSE].reshape(3, 4)[:, 3] = x, y, z
    return params + (torch.from_numpy(shift).to(params) if isinstance(params, Tensor) else shift)


@dataclass(frozen=True, eq=False)
class Whitening(Generic[A]):
    """Mean and standard deviation that scale each parameter to zero mean and unit variance.

    Attributes:
        mean: (12 + S + E,).
        std: (12 + S + E,) standard deviations.

    Example:
        >>> whitening = Whitening(mean=np.array([10.0, 20.0]), std=np.array([2.0, 4.0]))
        >>> whitening.whiten(np.array([12.0, 16.0])).tolist()
        [1.0, -1.0]
    """

    mean: A
    std: A

    def whiten(self, params: A) -> A:
        """Scale parameters (..., 12 + S + E) to zero mean and unit variance."""
        return (params - self.mean) / self.std

    def dewhiten(self, whitened: A) -> A:
        """Undo `whiten`: return the parameters (..., 12 + S + E) of whitened parameters."""
        return whitened * self.std + self.mean
