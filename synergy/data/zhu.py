"""The fitted parameters in Zhu's `.mat` files (AFLW2000-3D, 300W-LP), in our conventions.

Zhu et al., "Face Alignment Across Large Poses: A 3D Solution", CVPR 2016. `Pose_Para` is pitch, yaw, roll (radians),
t_x, t_y, t_z, f; vertices are `V = f R S + t`, drawn at MATLAB's 1-based x = V_x, y = H + 1 - V_y. In 0-based pixels
that is x = V_x - 1, y = H - V_y: only t_x changes.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from bfm_assets.schema import MorphableModel
from synergy.data.reader import SampleError
from synergy.geometry import compose_pose, euler_to_matrix

VARIABLES = ("Pose_Para", "Shape_Para", "Exp_Para")
MATLAB_ORIGIN = 1.0  # MATLAB's first pixel centre is at (1, 1), ours at (0, 0)
_N_SHAPE, _N_EXPRESSION, _N_POSE = 199, 29, 7
_MM_PER_UNIT = 1e-3  # BFM is in micrometres


def pose_deg(mat: dict[str, NDArray[np.float64]], name: str) -> NDArray[np.float32]:
    """(3,) pitch, yaw, roll in degrees: the angles as the file states them, beyond 90 degrees too."""
    return np.degrees(_vector(mat, "Pose_Para", _N_POSE, name)[:3]).astype(np.float32)


def parameters(mat: dict[str, NDArray[np.float64]], name: str) -> NDArray[np.float32]:
    """(12 + 199 + 29,) `[s R | t]` in 0-based image pixels with y = H - V_y, raw shape, raw expression."""
    pose = _vector(mat, "Pose_Para", _N_POSE, name)
    rotation = euler_to_matrix(torch.from_numpy(pose[:3]))
    shift = torch.from_numpy(pose[3:6] - [MATLAB_ORIGIN, 0.0, 0.0])
    composed = compose_pose(torch.tensor(pose[6]), rotation, shift).numpy()
    shape = _vector(mat, "Shape_Para", _N_SHAPE, name)
    expression = _vector(mat, "Exp_Para", _N_EXPRESSION, name)
    return np.concatenate([composed, shape, expression]).astype(np.float32)


def project_vertices(
    params: NDArray[np.float32], model: MorphableModel, height: int, n_shape: int = _N_SHAPE
) -> NDArray[np.float32]:
    """(V, 3) vertices of BFM in pixels of an image of this height, z of zero mean over the vertices, larger nearer.

    `model` must be a form of BFM, dense or of 68 points; coefficients beyond its number of modes are left out. `params`
    are (12 + n_shape + E,).
    """
    matrix = params[:12].reshape(3, 4).astype(np.float64)
    shape = params[12 : 12 + n_shape][: model.n_shape]
    expression = params[12 + n_shape :][: model.n_expression]
    vertices = model.vertices(shape, expression) * (model.mm_per_unit / _MM_PER_UNIT)
    projected = vertices @ matrix[:, :3].T + matrix[:, 3]
    projected[:, 1] = height - projected[:, 1]
    projected[:, 2] -= projected[:, 2].mean()
    return projected.astype(np.float32)


def _vector(mat: dict[str, NDArray[np.float64]], key: str, size: int, name: str) -> NDArray[np.float64]:
    value = mat[key].ravel()
    if value.size != size:
        raise SampleError(f"{name}: {key} has {value.size} values, expected {size}")
    if not np.isfinite(value).all():
        raise SampleError(f"{name}: {key} has values that are not finite")
    return value
