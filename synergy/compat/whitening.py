"""Mean and standard deviation that whiten 3DDFA's 62 parameters, as the public projects store them."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bfm_assets.npz import ModelFileError, read_arrays
from bfm_assets.unpickle import read_pickle

N_PARAMS = 62
# (mean, standard deviation) of 3DDFA_V2's pickle, SynergyNet's pickle, and the 68-point basis.
_KEYS = (("mean", "std"), ("param_mean", "param_std"), ("param_mean62", "param_std62"))


class Whitening(NamedTuple):
    """Mean and standard deviation (62,) of 12 pose, 40 shape and 10 expression parameters, float32."""

    mean: NDArray[np.float32]
    std: NDArray[np.float32]


def read_whitening(path: str | Path) -> Whitening:
    """The whitening in `param_mean_std_62d_120x120.pkl`, `param_whitening.pkl` or `bfm68_basis.npz`."""
    found = read_arrays(path, (), "whitening") if Path(path).suffix == ".npz" else read_pickle(path)
    for keys in _KEYS:
        if isinstance(found, dict) and all(isinstance(found.get(key), np.ndarray) for key in keys):
            mean, std = (found[key].ravel().astype(np.float32)[:N_PARAMS] for key in keys)
            if mean.shape == std.shape == (N_PARAMS,) and np.isfinite(mean).all() and (std > 0).all():
                return Whitening(mean, std)
    raise ModelFileError(f"{path}: no whitening, expected {N_PARAMS} means and positive deviations under mean and std")
