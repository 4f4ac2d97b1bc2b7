"""Read 3DDFA_V2's `bfm_noneck_v3.pkl`: BFM 2009 without neck and ears, 38,365 vertices.

Files of its `configs` folder:
    bfm_noneck_v3.pkl                 u (3V, 1), w_shp (3V, S), w_exp (3V, E), keypoints (204,), and tri (3, F) with
                                      indices from 0
    tri.pkl                           (3, F), indices from 0: the triangles that 3DDFA_V2 itself uses; optional
    param_mean_std_62d_120x120.pkl    std of 62 parameters (`bfm_assets.whitening`)
"""

from __future__ import annotations

from pathlib import Path

from bfm_assets import convert
from bfm_assets.bfm2009 import LICENCE
from bfm_assets.keypoints import read_keypoints
from bfm_assets.safe_files import reading
from bfm_assets.schema import MorphableModel
from bfm_assets.unpickle import read_pickle
from bfm_assets.whitening import N_EXPRESSION, N_SHAPE, read_coefficient_std

MODEL_NAME = "bfm-noneck"
ASSUMPTIONS = (
    "units are micrometres",
    "standard deviations are those of 300W-LP's fits, from the whitening",
    "the first 40 shape and 10 expression modes are kept, because the whitening has no more",
    "triangles come from tri.pkl if it lies next to the model",
)


def read_noneck(path: str | Path, keypoints: str | Path | None = None) -> MorphableModel:
    """Read 3DDFA_V2's model.

    Args:
        path: `bfm_noneck_v3.pkl`.
        keypoints: keypoint file (`bfm_assets.keypoints`) that replaces the landmarks of the model.

    Raises:
        ModelFileError: a file is missing, damaged, incomplete or inconsistent.
    """
    path = Path(path)
    content = read_pickle(path)
    with reading(path, "bfm_noneck_v3.pkl"):
        convert.require_fields(content, ("u", "w_shp", "w_exp", "keypoints"), "3DDFA_V2's model")
        mean = convert.points(content["u"], "u")
        shape_basis = convert.modes(content["w_shp"], len(mean), "w_shp")[..., :N_SHAPE]
        expression_basis = convert.modes(content["w_exp"], len(mean), "w_exp")[..., :N_EXPRESSION]
        shape_std, expression_std = read_coefficient_std(
            path.parent / "param_mean_std_62d_120x120.pkl", shape_basis.shape[2], expression_basis.shape[2]
        )
        triangle_file = path.parent / "tri.pkl"
        has_triangle_file = triangle_file.is_file()
        triangles = read_pickle(triangle_file) if has_triangle_file else content.get("tri")
        return MorphableModel(
            name=MODEL_NAME,
            licence=LICENCE,
            mean=mean,
            shape_basis=shape_basis,
            shape_std=shape_std,
            expression_basis=expression_basis,
            expression_std=expression_std,
            triangles=convert.triangles(triangles, mean, 0, "tri.pkl" if has_triangle_file else "tri"),
            landmarks=convert.landmarks(content["keypoints"], len(mean), 0, "keypoints")
            if keypoints is None
            else read_keypoints(keypoints, len(mean)),
            mm_per_unit=1e-3,
        )
