"""Read the `3dmm_data` folder of 3DDFA and SynergyNet: BFM 2009 cut to 53,215 vertices.

u_shp.npy, u_exp.npy            (3V, 1) mean shape and mean expression, micrometres
w_shp_sim.npy, w_exp_sim.npy    (3V, 40) and (3V, 10) modes
keypoints_sim.npy               (204,) coordinate indices of the landmarks
tri.mat                         tri (3, F), indices from 1
param_whitening.pkl             param_std of 62 parameters (`bfm_assets.whitening`)
"""

from __future__ import annotations

from pathlib import Path

from bfm_assets import convert
from bfm_assets.bfm2009 import LICENCE
from bfm_assets.keypoints import find_keypoints
from bfm_assets.matfile import read_mat
from bfm_assets.safe_files import read_array, reading
from bfm_assets.schema import MorphableModel
from bfm_assets.whitening import read_coefficient_std

MODEL_NAME = "bfm-3ddfa"
ASSUMPTIONS = (
    "units are micrometres",
    "standard deviations are those of 300W-LP's fits, from the whitening",
    "the face is the mean shape plus the mean expression",
)


def read_3dmm_data(path: str | Path, keypoints: str | Path | None = None) -> MorphableModel:
    """Read 3DDFA's model.

    Args:
        path: the folder.
        keypoints: keypoint file (`bfm_assets.keypoints`) that replaces `keypoints_sim.npy`.

    Raises:
        ModelFileError: a file is missing, damaged or inconsistent.
    """
    folder = Path(path)
    with reading(folder, "3dmm_data folder"):
        names = ("u_shp.npy", "u_exp.npy")
        mean = convert.joined_mean(read_array(folder / names[0]), read_array(folder / names[1]), names)
        shape_basis = convert.modes(read_array(folder / "w_shp_sim.npy"), len(mean), "w_shp_sim.npy")
        expression_basis = convert.modes(read_array(folder / "w_exp_sim.npy"), len(mean), "w_exp_sim.npy")
        shape_std, expression_std = read_coefficient_std(
            folder / "param_whitening.pkl", shape_basis.shape[2], expression_basis.shape[2]
        )
        return MorphableModel(
            name=MODEL_NAME,
            licence=LICENCE,
            mean=mean,
            shape_basis=shape_basis,
            shape_std=shape_std,
            expression_basis=expression_basis,
            expression_std=expression_std,
            triangles=convert.triangles(read_mat(folder / "tri.mat", ("tri",))["tri"], mean, 1, "tri.mat"),
            landmarks=find_keypoints(keypoints, folder, len(mean), "3dmm_data"),
            mm_per_unit=1e-3,
        )
