"""3DDFA's 62 parameters: their number, their pixel coordinates, and the public files with their whitening."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bfm_assets import whitening
from synergy.geometry import A
from synergy.parameters import Whitening, translate

N_SHAPE, N_EXPRESSION, N_PARAMS = whitening.N_SHAPE, whitening.N_EXPRESSION, whitening.N_PARAMS
N_COEFFICIENTS = N_SHAPE + N_EXPRESSION


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
    return Whitening(*whitening.read_whitening(path))
