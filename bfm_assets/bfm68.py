"""Reader of the 68-point basis: BFM restricted to its landmark vertices, as 3DDFA's C++ port carries it.

The `.npz` holds mean (68, 3), shape_basis (68, 3, S), expression_basis (68, 3, E) and the whitening mean and standard
deviation of the 12 + S + E parameters, `param_mean62` and `param_std62`. Units are BFM's micrometres. The standard
deviations of the coefficients are the whitening's: what 300W-LP's fits used, not the scans' own.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bfm_assets import convert
from bfm_assets.errors import reading
from bfm_assets.licences import BFM_2009
from bfm_assets.npz import read_arrays
from bfm_assets.schema import N_LANDMARKS, MorphableModel

ASSUMED = (
    "units are micrometres",
    "standard deviations are the whitening's, those of 300W-LP's fits",
    "there are the 68 landmark vertices only, no mesh",
)


def read_bfm68(path: str | Path, keypoints: str | Path | None = None) -> MorphableModel:  # noqa: ARG001
    """The landmark-only `MorphableModel` of a 68-point basis; it has no triangles and so no dense mesh.

    `keypoints` is ignored: every vertex is a landmark.
    """
    arrays = read_arrays(path, ("mean", "shape_basis", "expression_basis", "param_std62"), "68-point basis")
    with reading(path, "68-point basis"):
        shape_basis = convert.numbers(arrays["shape_basis"], "shape_basis")
        expression_basis = convert.numbers(arrays["expression_basis"], "expression_basis")
        n_shape, n_expression = shape_basis.shape[-1], expression_basis.shape[-1]
        std = convert.coefficient_deviations(arrays["param_std62"], n_shape + n_expression, "param_std62")
        return MorphableModel(
            name="bfm-68",
            licence=BFM_2009,
            mean=convert.numbers(arrays["mean"], "mean"),
            shape_basis=shape_basis,
            shape_std=std[:n_shape],
            expression_basis=expression_basis,
            expression_std=std[n_shape:],
            triangles=np.empty((0, 3), np.int32),
            landmarks=np.arange(N_LANDMARKS, dtype=np.int32),
            mm_per_unit=1e-3,
        )
