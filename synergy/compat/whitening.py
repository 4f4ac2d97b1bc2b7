"""3DDFA's 62 parameters: their number, their pixel coordinates, and the public files with their whitening."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bfm_assets.npz import ModelFileError, read_arrays
from bfm_assets.unpickle import read_pickle
from synergy.geometry import A
from synergy.parameters import N_POSE, Whitening, translate

N_SHAPE, N_EXPRESSION = 40, 10
N_COEFFICIENTS = N_SHAPE + N_EXPRESSION
N_PARAMS = N_POSE + N_COEFFICIENTS
# Names of the mean and the standard deviation in 3DDFA_V2's pickle, SynergyNet's pickle, and the 68-point basis.
_KEYS = (("mean", "std"), ("param_mean", "param_std"), ("param_mean62", "param_std62"))


def to_zero_based(params: A) -> A:
    """Convert parameters from MATLAB's pixel coordinates, which count from 1, to ours.

    The vertices lie at x = V_x and y = H + 1 - V_y in MATLAB's coordinates. In ours they lie at x = V_x - 1 and
    y = H - V_y. Therefore only the translation in x changes.

    Args:
        params: (..., P), the pose first.

    Returns:
        A converted copy.
    """
    return translate(params, x=-1.0)


def read_whitening(path: str | Path) -> Whitening[NDArray[np.float32]]:
    """Read the whitening of the 62 parameters.

    Args:
        path: `param_mean_std_62d_120x120.pkl`, `param_whitening.pkl` or `bfm68_basis.npz`.

    Returns:
        Mean and standard deviation (62,), in MATLAB's pixel coordinates.

    Raises:
        ModelFileError: the file holds no whitening of 62 parameters.
    """
    content = read_arrays(path, (), "whitening") if Path(path).suffix == ".npz" else read_pickle(path)
    for keys in _KEYS:
        if isinstance(content, dict) and all(isinstance(content.get(key), np.ndarray) for key in keys):
            mean, std = (content[key].ravel().astype(np.float32)[:N_PARAMS] for key in keys)
            if mean.shape == std.shape == (N_PARAMS,) and np.isfinite(mean).all() and (std > 0).all():
                return Whitening(mean, std)
    raise ModelFileError(
        f"{path}: no whitening, expected {N_PARAMS} means and positive standard deviations under mean and std"
    )
