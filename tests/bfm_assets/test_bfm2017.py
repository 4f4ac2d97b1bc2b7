"""BFM 2017 and 2019, in files of their exact layout."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from bfm_assets import ModelFileError
from bfm_assets.bfm2017 import read_bfm2017


def test_everything_arrives(write_bfm2017, assert_same) -> None:
    model = read_bfm2017(write_bfm2017())
    assert_same(model)
    assert model.mm_per_unit == 1
    assert model.name == "model2017-1_bfm_nomouth"


def test_colours_may_go_to_255(write_bfm2017, reference, assert_same) -> None:
    assert_same(read_bfm2017(write_bfm2017(color__model__mean=reference.colours.ravel().astype(np.float64))))
    assert read_bfm2017(write_bfm2017(color__model__mean=None)).colours is None


def test_landmarks_come_from_a_file(write_bfm2017, tmp_path, reference) -> None:
    path = write_bfm2017(keypoints=False)
    with pytest.raises(ModelFileError, match="BFM 2017/2019 does not say where its 68 landmarks are"):
        read_bfm2017(path)
    np.save(tmp_path / "marks.npy", reference.landmarks)
    np.testing.assert_array_equal(read_bfm2017(path, tmp_path / "marks.npy").landmarks, reference.landmarks)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shape__model__mean": None}, "it lacks shape/model/mean"),
        ({"shape__model__pcaBasis": np.zeros((7, 2))}, r"pcaBasis is \(7, 2\), expected 270 rows"),
        ({"shape__model__pcaVariance": np.zeros(40)}, "variances that are not positive"),
        ({"expression__model__mean": np.zeros(9)}, "90 vertices in shape/model/mean and 3 in expression/model/mean"),
        ({"shape__representer__cells": np.full((3, 2), 90)}, r"indices from 0 to 89"),
        ({"shape__representer__cells": np.zeros((4, 4), int)}, "expected three indices per triangle"),
        ({"color__model__mean": np.zeros(12)}, "4 colours for 90 vertices"),
        ({"color__model__mean": np.full(270, np.nan)}, "not finite"),
        ({"shape__model__mean": "text"}, "not an array of numbers"),
    ],
)
def test_inconsistent_files_are_one_line(write_bfm2017, changes, message) -> None:
    with pytest.raises(ModelFileError, match=message):
        read_bfm2017(write_bfm2017(**changes))


def test_a_dataset_that_claims_terabytes(write_bfm2017) -> None:
    path = write_bfm2017(shape__model__pcaBasis=None)
    with h5py.File(path, "a") as file:
        file.create_dataset("shape/model/pcaBasis", (10**9, 199), "f4", chunks=(1000, 199))
    with pytest.raises(ModelFileError, match="GB, more than any morphable model"):
        read_bfm2017(path)


def test_damage(write_bfm2017, survives_damage) -> None:
    path = write_bfm2017()
    survives_damage(path, lambda: read_bfm2017(path))
