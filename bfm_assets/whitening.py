"""Read the whitening of 3DDFA's parameters: the mean and the standard deviation of each of 62 numbers.

The 62 parameters are 12 of pose, 40 shape and 10 expression coefficients of a Basel Face Model. They are the fits of
300W-LP (Zhu et al., CVPR 2016). Three public files hold them:

    param_mean_std_62d_120x120.pkl    3DDFA_V2; mean and std
    param_whitening.pkl               3DDFA and SynergyNet; param_mean and param_std
    bfm68_basis.npz                   the 68-point basis (`bfm_assets.bfm68`); param_mean62 and param_std62

Some versions of these files hold more than 62 numbers (texture coefficients). They are ignored.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bfm_assets.safe_files import ModelFileError, read_arrays, reading
from bfm_assets.schema import Floats
from bfm_assets.unpickle import read_pickle

N_PARAMS, N_SHAPE, N_EXPRESSION = 62, 40, 10
_ZIP = b"PK"
_NAMES = (("mean", "std"), ("param_mean", "param_std"), ("param_mean62", "param_std62"))


def read_whitening(path: str | Path) -> tuple[Floats, Floats]:
    """Read mean and standard deviation, each (62,) float32.

    Args:
        path: one of the three public files. Pickles are read by `bfm_assets.unpickle`, which does not execute them.

    Raises:
        ModelFileError: the file does not hold 62 finite means and 62 positive standard deviations.
    """
    with reading(path, "whitening"), Path(path).open("rb") as file:
        is_npz = file.read(len(_ZIP)) == _ZIP
    content = read_arrays(path, (), "whitening") if is_npz else read_pickle(path)
    for names in _NAMES:
        if isinstance(content, dict) and all(isinstance(content.get(name), np.ndarray) for name in names):
            mean, std = (content[name].ravel().astype(np.float32)[:N_PARAMS] for name in names)
            if mean.shape == std.shape == (N_PARAMS,) and np.isfinite(mean).all() and (std > 0).all():
                return mean, std
    raise ModelFileError(
        f"{path}: not a whitening, expected {N_PARAMS} means and {N_PARAMS} positive standard deviations"
    )


def read_coefficient_std(path: str | Path, n_shape: int, n_expression: int) -> tuple[Floats, Floats]:
    """Read the standard deviations of the coefficients.

    Args:
        path: see `read_whitening`.
        n_shape: number S of shape modes of the model, at most 40.
        n_expression: number E of expression modes of the model, at most 10.

    Returns:
        Standard deviations of the shape coefficients (S,) and of the expression coefficients (E,).

    Raises:
        ModelFileError: the file is not a whitening, or the model has more modes than the whitening.
    """
    if n_shape > N_SHAPE or n_expression > N_EXPRESSION:
        raise ModelFileError(
            f"{path}: the model has {n_shape} shape and {n_expression} expression modes, "
            f"but the whitening has {N_SHAPE} and {N_EXPRESSION}"
        )
    _, std = read_whitening(path)
    coefficients = std[N_PARAMS - N_SHAPE - N_EXPRESSION :]
    return coefficients[:n_shape], coefficients[N_SHAPE : N_SHAPE + n_expression]
