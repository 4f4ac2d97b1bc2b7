"""Reader of 3DDFA_V2's `bfm_noneck_v3.pkl`: BFM 2009 without neck and ears, 38,365 vertices.

Files of its `configs` folder:
    bfm_noneck_v3.pkl                 u (3V, 1), w_shp (3V, S), w_exp (3V, E), keypoints (204,), tri (3, F) from 0
    tri.pkl                           (3, F) from 0: the triangles that 3DDFA_V2 itself uses; optional
    param_mean_std_62d_120x120.pkl    std of 12 + 40 + 10 parameters
"""

from __future__ import annotations

from pathlib import Path

from bfm_assets import convert
from bfm_assets.errors import ModelFileError, reading
from bfm_assets.keypoints import read_keypoints
from bfm_assets.licences import BFM_2009
from bfm_assets.schema import MorphableModel
from bfm_assets.tddfa import whitening_std
from bfm_assets.unpickle import read_pickle

_N_SHAPE, _N_EXPRESSION = 40, 10

ASSUMED = (
    "units are micrometres",
    "standard deviations are the whitening's, those of 300W-LP's fits: they cover the first 40 shape and 10 "
    "expression modes, further ones are dropped",
    "triangles come from tri.pkl where it lies beside the model",
)


def read_noneck(path: str | Path, keypoints: str | Path | None = None) -> MorphableModel:
    """3DDFA_V2's model from its pickle; `keypoints` replaces the landmarks that it carries."""
    path = Path(path)
    found = read_pickle(path)
    with reading(path, "bfm_noneck_v3.pkl"):
        if not isinstance(found, dict) or (
            missing := [k for k in ("u", "w_shp", "w_exp", "keypoints") if k not in found]
        ):
            lacking = ", ".join(missing) if isinstance(found, dict) else "a dictionary"
            raise ModelFileError(f"not 3DDFA_V2's model, it lacks {lacking}")
        mean = convert.points(found["u"], "u")
        shape_basis = convert.modes(found["w_shp"], len(mean), "w_shp")[..., :_N_SHAPE]
        expression_basis = convert.modes(found["w_exp"], len(mean), "w_exp")[..., :_N_EXPRESSION]
        n_shape, n_expression = shape_basis.shape[2], expression_basis.shape[2]
        std = whitening_std(path.parent / "param_mean_std_62d_120x120.pkl", n_shape + n_expression)
        rebuilt = path.parent / "tri.pkl"
        triangles = read_pickle(rebuilt) if rebuilt.is_file() else found.get("tri")
        return MorphableModel(
            name="bfm-noneck",
            licence=BFM_2009,
            mean=mean,
            shape_basis=shape_basis,
            shape_std=std[:n_shape],
            expression_basis=expression_basis,
            expression_std=std[n_shape:],
            triangles=convert.triangles(triangles, mean, 0, rebuilt.name if rebuilt.is_file() else "tri"),
            landmarks=convert.landmarks(found["keypoints"], len(mean), 0, "keypoints")
            if keypoints is None
            else read_keypoints(keypoints, len(mean)),
            mm_per_unit=1e-3,
        )
