"""The fitted parameters in the `.mat` files of 300W-LP and AFLW2000-3D.

Zhu et al., "Face Alignment Across Large Poses: A 3D Solution", CVPR 2016. `Pose_Para` holds pitch, yaw and roll in
radians, t_x, t_y, t_z and the scale f. The vertices V = f R S + t lie at x = V_x and y = H + 1 - V_y in MATLAB's pixel
coordinates, which count from 1. `read_parameters` converts the parameters to our coordinates.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from bfm_assets.detect import has_3ddfa_modes
from bfm_assets.schema import MorphableModel
from synergy.camera import project_plain
from synergy.compat.whitening import to_zero_based
from synergy.data.reader import SampleError
from synergy.errors import UserError
from synergy.geometry import centre_depth, compose_pose, euler_to_matrix
from synergy.parameters import join_parameters, split_parameters

VARIABLES = ("Pose_Para", "Shape_Para", "Exp_Para")
MATLAB_ORIGIN = 1.0  # MATLAB's first pixel centre is at (1, 1), ours at (0, 0)
_N_SHAPE, _N_EXPRESSION, _N_POSE_PARA = 199, 29, 7
_MM_PER_UNIT = 1e-3  # the files are in units of BFM, micrometres


def read_pose_deg(mat: dict[str, NDArray[np.float64]], name: str) -> NDArray[np.float32]:
    """Read the head pose.

    Args:
        mat: variables of a file.
        name: its name, for error messages.

    Returns:
        Pitch, yaw and roll (3,) in degrees as in the file. A yaw can exceed 90 degrees.
    """
    return np.degrees(_vector(mat, "Pose_Para", _N_POSE_PARA, name)[:3]).astype(np.float32)


def read_parameters(mat: dict[str, NDArray[np.float64]], name: str) -> NDArray[np.float32]:
    """Read the fitted parameters.

    Args:
        mat: variables of a file.
        name: its name, for error messages.

    Returns:
        Parameters (12 + 199 + 29,) (`synergy.parameters`) with the pose in image pixels.
    """
    pose = _vector(mat, "Pose_Para", _N_POSE_PARA, name)
    rotation = euler_to_matrix(torch.from_numpy(pose[:3]))
    composed = compose_pose(torch.tensor(pose[6]), rotation, torch.from_numpy(pose[3:6])).numpy()
    shape = _vector(mat, "Shape_Para", _N_SHAPE, name)
    expression = _vector(mat, "Exp_Para", _N_EXPRESSION, name)
    return to_zero_based(join_parameters(composed, shape, expression)).astype(np.float32)


def require_3ddfa_modes(model: MorphableModel) -> None:
    """Check that the parameters of the files describe faces of a model. With other modes they give wrong faces.

    Raises:
        UserError: they do not.
    """
    if not has_3ddfa_modes(model):
        raise UserError(
            "the parameters of 300W-LP, AFLW2000-3D and 3DDFA need a Basel Face Model with 3DDFA's modes (3dmm_data, "
            f"bfm_noneck_v3.pkl, face3d's BFM.mat or the 68-point basis); '{model.name}' has others"
        )


def project_vertices(
    params: NDArray[np.float32], model: MorphableModel, height: int, n_shape: int = _N_SHAPE
) -> NDArray[np.float32]:
    """Project BFM's vertices into an image.

    Args:
        params: (12 + n_shape + E,).
        model: a BFM with 3DDFA's modes, dense or of 68 points. Coefficients beyond its number of modes are ignored.
        height: height of the image in pixels.
        n_shape: number of shape coefficients in `params`.

    Returns:
        (V, 3) in image pixels; z in the same scale, larger is nearer, with zero mean over the vertices.
    """
    pose, shape, expression = split_parameters(params.astype(np.float64), n_shape)
    vertices = model.vertices(shape[: model.n_shape], expression[: model.n_expression])
    in_micrometres = torch.from_numpy(vertices * (model.mm_per_unit / _MM_PER_UNIT)).double()
    return centre_depth(project_plain(in_micrometres, torch.from_numpy(pose), height)).numpy().astype(np.float32)


def _vector(mat: dict[str, NDArray[np.float64]], key: str, size: int, name: str) -> NDArray[np.float64]:
    """Return a variable as a vector (size,) of finite values."""
    value = mat[key].ravel()
    if value.size != size:
        raise SampleError(f"{name}: {key} has {value.size} values, expected {size}")
    if not np.isfinite(value).all():
        raise SampleError(f"{name}: {key} has values that are not finite")
    return value
