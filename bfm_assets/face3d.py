"""Read face3d's `BFM.mat`: BFM 2009 with 3DDFA's expressions, 53,215 vertices.

The file holds one struct `model` in micrometres: shapeMU (3V, 1), shapePC (3V, 199), shapeEV (199, 1), expMU (3V, 1),
expPC (3V, 29), expEV (29, 1), texMU (3V, 1), and with indices from 1: tri (3, F) and kpt_ind (1, 68).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bfm_assets import convert
from bfm_assets.bfm2009 import LICENCE
from bfm_assets.keypoints import read_keypoints
from bfm_assets.matfile import read_mat
from bfm_assets.safe_files import reading
from bfm_assets.schema import MorphableModel

_FIELDS = ("shapeMU", "shapePC", "shapeEV", "expMU", "expPC", "expEV", "tri", "kpt_ind")

MODEL_NAME = "bfm-face3d"
ASSUMPTIONS = (
    "units are micrometres",
    "shapeEV and expEV are standard deviations",
    "the face is the mean shape plus the mean expression",
    "the separate triangles that close the mouth (tri_mouth) are ignored",
)


def read_face3d(path: str | Path, keypoints: str | Path | None = None) -> MorphableModel:
    """Read face3d's model.

    Args:
        path: `BFM.mat`.
        keypoints: keypoint file (`bfm_assets.keypoints`) that replaces the landmarks of the model.

    Raises:
        ModelFileError: a file is missing, damaged, incomplete or inconsistent.
    """
    struct: Any = read_mat(path, ("model",))["model"]
    with reading(path, "face3d BFM.mat"):
        convert.require_fields(struct, _FIELDS, "face3d's BFM.mat")
        mean = convert.joined_mean(struct["shapeMU"], struct["expMU"], ("shapeMU", "expMU"))
        shape_basis = convert.modes(struct["shapePC"], len(mean), "shapePC")
        expression_basis = convert.modes(struct["expPC"], len(mean), "expPC")
        return MorphableModel(
            name=MODEL_NAME,
            licence=LICENCE,
            mean=mean,
            shape_basis=shape_basis,
            shape_std=convert.per_mode(struct["shapeEV"], shape_basis.shape[2], "shapeEV"),
            expression_basis=expression_basis,
            expression_std=convert.per_mode(struct["expEV"], expression_basis.shape[2], "expEV"),
            triangles=convert.triangles(struct["tri"], mean, 1, "tri"),
            landmarks=convert.landmarks(struct["kpt_ind"], len(mean), 1, "kpt_ind")
            if keypoints is None
            else read_keypoints(keypoints, len(mean)),
            mm_per_unit=1e-3,
            colours=convert.colours(struct["texMU"], len(mean), 255, "texMU") if "texMU" in struct else None,
        )
