"""3DDFA_V2's pickle, in files of its exact layout."""

from __future__ import annotations

import numpy as np
import pytest

from bfm_assets import ModelFileError
from bfm_assets.tddfa_v2 import read_noneck


def test_everything_arrives(write_noneck, assert_same) -> None:
    model = read_noneck(write_noneck())
    assert_same(model, "colours")
    assert model.n_shape == 40  # of the file's 80: the whitening has no more
    assert model.mm_per_unit == 1e-3


def test_the_slim_file_has_its_own_triangles(write_noneck, assert_same) -> None:
    assert_same(read_noneck(write_noneck(rebuilt=False)), "colours")


@pytest.mark.parametrize("protocol", range(6))
def test_pickle_protocols(write_noneck, assert_same, protocol: int) -> None:
    assert_same(read_noneck(write_noneck(protocol=protocol)), "colours")


def test_keypoints_can_be_replaced(write_noneck, tmp_path, reference) -> None:
    np.save(tmp_path / "k.npy", reference.landmarks[::-1].copy())
    model = read_noneck(write_noneck(), tmp_path / "k.npy")
    np.testing.assert_array_equal(model.landmarks, reference.landmarks[::-1])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"u": None}, "it lacks u"),
        ({"u": "text"}, "u is not an array of numbers"),
        ({"w_exp": np.zeros((3, 10))}, r"w_exp is \(3, 10\)"),
        ({"w_exp": np.full((270, 10), np.inf)}, "not finite"),
        ({"keypoints": np.arange(10)}, "expected 68 landmarks"),
        ({"keypoints": None}, "it lacks keypoints"),
    ],
)
def test_inconsistent_files_are_one_line(write_noneck, changes, message) -> None:
    with pytest.raises(ModelFileError, match=message):
        read_noneck(write_noneck(**changes))


def test_the_whitening_is_needed(write_noneck) -> None:
    path = write_noneck()
    (path.parent / "param_mean_std_62d_120x120.pkl").unlink()
    with pytest.raises(ModelFileError, match=r"param_mean_std_62d_120x120\.pkl: no such file"):
        read_noneck(path)


@pytest.mark.parametrize("name", ["bfm_noneck_v3.pkl", "tri.pkl", "param_mean_std_62d_120x120.pkl"])
def test_damage(write_noneck, survives_damage, name: str) -> None:
    path = write_noneck()
    survives_damage(path.parent / name, lambda: read_noneck(path))
