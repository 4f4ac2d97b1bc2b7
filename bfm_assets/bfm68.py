"""Reader of the 68-point basis: BFM restricted to its landmark vertices, as 3DDFA's C++ port carries it.

The `.npz` holds mean (68, 3), shape_basis (68, 3, S), expression_basis (68, 3, E) and the whitening mean and standard
deviation of the 12 + S + E parameters, `param_mean62` and `param_std62`. Units are BFM's micrometres. The standard
deviations of the coefficients are the whitening's: what 300W-LP's fits used, not the scans' own.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bfm_assets.npz import read_arrays
from bfm_assets.schema import N_LANDMARKS, MorphableModel

_N_POSE = 12


def read_bfm68(path: str | Path) -> MorphableModel:
    """The landmark-only `MorphableModel` of a 68-point basis; it has no triangles and so no dense mesh."""
    arrays = read_arrays(path, ("mean", "shape_basis", "expression_basis", "param_std62"), "68-point basis")
    n_shape = arrays["shape_basis"].shape[-1]
    std = arrays["param_std62"].astype(np.float32)
    return MorphableModel(
        name="bfm-68",
        licence="Basel Face Model: research only, see https://faces.dmi.unibas.ch/bfm/",
        mean=arrays["mean"].astype(np.float32),
        shape_basis=arrays["shape_basis"].astype(np.float32),
        shape_std=std[_N_POSE : _N_POSE + n_shape],
        expression_basis=arrays["expression_basis"].astype(np.float32),
        expression_std=std[_N_POSE + n_shape :],
        triangles=np.empty((0, 3), np.int32),
        landmarks=np.arange(N_LANDMARKS, dtype=np.int32),
        mm_per_unit=1e-3,
    )
