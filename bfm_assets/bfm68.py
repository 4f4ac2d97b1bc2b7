"""Read the 68-point basis: the Basel Face Model 2009 at its landmark vertices only, as 3DDFA's C++ port carries it.

The `.npz` file holds mean (68, 3), shape_basis (68, 3, S) and expression_basis (68, 3, E) in micrometres, with S <= 40
and E <= 10, and the whitening of 3DDFA's 62 parameters, param_mean62 and param_std62.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bfm_assets import convert
from bfm_assets.bfm2009 import LICENCE
from bfm_assets.safe_files import read_arrays, reading
from bfm_assets.schema import N_LANDMARKS, MorphableModel
from bfm_assets.whitening import read_coefficient_std

MODEL_NAME = "bfm-68"
ASSUMPTIONS = (
    "units are micrometres",
    "standard deviations are those of 300W-LP's fits, from the whitening",
    "there are only the 68 landmark vertices, no mesh",
)


def read_bfm68(path: str | Path, keypoints: str | Path | None = None) -> MorphableModel:  # noqa: ARG001
    """Read a 68-point basis. The model has no triangles, so it cannot draw a mesh.

    Args:
        path: the `.npz` file.
        keypoints: ignored, because every vertex is a landmark.

    Returns:
        A model of 68 vertices in micrometres. The standard deviations of its coefficients are those of 300W-LP's fits,
        not those of BFM's scans.

    Raises:
        ModelFileError: the file is missing, damaged, incomplete or inconsistent.

    Example:
        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> arrays = {"mean": np.zeros((68, 3)), "param_mean62": np.zeros(62), "param_std62": np.ones(62)}
        >>> arrays |= {"shape_basis": np.ones((68, 3, 40)), "expression_basis": np.ones((68, 3, 10))}
        >>> with TemporaryDirectory() as folder:
        ...     np.savez(Path(folder, "basis.npz"), **arrays)
        ...     model = read_bfm68(Path(folder, "basis.npz"))
        >>> model.n_vertices, model.n_shape, model.n_expression, model.is_dense
        (68, 40, 10, False)
    """
    required = ("mean", "shape_basis", "expression_basis", "param_mean62", "param_std62")
    arrays = read_arrays(path, required, "68-point basis")
    with reading(path, "68-point basis"):
        shape_basis = convert.numbers(arrays["shape_basis"], "shape_basis")
        expression_basis = convert.numbers(arrays["expression_basis"], "expression_basis")
        shape_std, expression_std = read_coefficient_std(path, shape_basis.shape[-1], expression_basis.shape[-1])
        return MorphableModel(
            name=MODEL_NAME,
            licence=LICENCE,
            mean=convert.numbers(arrays["mean"], "mean"),
            shape_basis=shape_basis,
            shape_std=shape_std,
            expression_basis=expression_basis,
            expression_std=expression_std,
            triangles=np.empty((0, 3), np.int32),
            landmarks=np.arange(N_LANDMARKS, dtype=np.int32),
            mm_per_unit=1e-3,
        )
