"""face3d's BFM.mat, in files of its exact layout."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.io

from bfm_assets import ModelFileError
from bfm_assets.face3d import read_face3d


def test_everything_arrives(write_face3d, assert_same) -> None:
    model = read_face3d(write_face3d())
    assert_same(model)
    assert model.mm_per_unit == 1e-3


def test_colours_are_optional(write_face3d) -> None:
    assert read_face3d(write_face3d(texMU=None)).colours is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"expPC": None}, "it lacks expPC"),
        ({"expPC": np.zeros((6, 10))}, r"expPC is \(6, 10\), expected 270 rows"),
        ({"expMU": np.zeros((6, 1))}, "90 vertices in shapeMU and 2 in expMU"),
        ({"expEV": np.full((10, 1), -1.0)}, "must be positive"),
        ({"kpt_ind": np.full((1, 68), 91.0)}, r"indices from 1 to 90"),
        ({"tri": np.zeros((3, 4))}, r"indices from 1 to 90"),
    ],
)
def test_inconsistent_files_are_one_line(write_face3d, changes, message) -> None:
    with pytest.raises(ModelFileError, match=message):
        read_face3d(write_face3d(**changes))


def test_a_model_that_is_no_struct(tmp_path) -> None:
    scipy.io.savemat(tmp_path / "BFM.mat", {"model": np.ones(3)})
    with pytest.raises(ModelFileError, match="expected named arrays, found ndarray"):
        read_face3d(tmp_path / "BFM.mat")


def test_damage(write_face3d, survives_damage) -> None:
    path = write_face3d()
    survives_damage(path, lambda: read_face3d(path))
