"""Reader of 3DDFA's `3dmm_data` folder, which SynergyNet uses too: BFM 2009 cut to 53,215 vertices.

u_shp.npy, u_exp.npy            (3V, 1) mean shape and mean expression, micrometres
w_shp_sim.npy, w_exp_sim.npy    (3V, 40) and (3V, 10) modes
keypoints_sim.npy               (204,) coordinate indices of the landmarks
tri.mat                         tri (3, F), from 1
param_whitening.pkl             param_std of 12 + 40 + 10 parameters
"""

from __future__ import annotations

from pathlib import Path

from bfm_assets import convert
from bfm_assets.errors import ModelFileError, reading
from bfm_assets.keypoints import find_keypoints
from bfm_assets.licences import BFM_2009
from bfm_assets.matfile import read_mat
from bfm_assets.npz import read_array
from bfm_assets.schema import Floats, MorphableModel
from bfm_assets.unpickle import read_pickle

ASSUMED = (
    "units are micrometres",
    "standard deviations are the whitening's, those of 300W-LP's fits",
    "the face is the mean shape plus the mean expression",
)


def read_3dmm_data(path: str | Path, keypoints: str | Path | None = None) -> MorphableModel:
    """3DDFA's model from its folder; `keypoints` replaces its `keypoints_sim.npy`."""
    folder = Path(path)
    with reading(folder, "3dmm_data folder"):
        names = ("u_shp.npy", "u_exp.npy")
        mean = convert.joined_mean(read_array(folder / names[0]), read_array(folder / names[1]), names)
        shape_basis = convert.modes(read_array(folder / "w_shp_sim.npy"), len(mean), "w_shp_sim.npy")
        expression_basis = convert.modes(read_array(folder / "w_exp_sim.npy"), len(mean), "w_exp_sim.npy")
        n_shape, n_expression = shape_basis.shape[2], expression_basis.shape[2]
        std = whitening_std(folder / "param_whitening.pkl", n_shape + n_expression)
        return MorphableModel(
            name="bfm-3ddfa",
            licence=BFM_2009,
            mean=mean,
            shape_basis=shape_basis,
            shape_std=std[:n_shape],
            expression_basis=expression_basis,
            expression_std=std[n_shape:],
            triangles=convert.triangles(read_mat(folder / "tri.mat", ("tri",))["tri"], mean, 1, "tri.mat"),
            landmarks=find_keypoints(keypoints, folder, len(mean), "3dmm_data"),
            mm_per_unit=1e-3,
        )


def whitening_std(path: Path, count: int) -> Floats:
    """Read the standard deviations (count,) of shape and expression coefficients in a whitening pickle of 3DDFA's."""
    found = read_pickle(path)
    with reading(path, "whitening pickle"):
        if not isinstance(found, dict):
            raise ModelFileError("it holds no dictionary")
        return convert.coefficient_deviations(found.get("param_std", found.get("std")), count, "its std")
