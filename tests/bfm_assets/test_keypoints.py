"""Keypoint files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bfm_assets import ModelFileError
from bfm_assets.keypoints import find_keypoints, read_keypoints

MARKS = np.arange(68) * 2


@pytest.mark.parametrize("separator", [" ", "\n", ", ", ",\n", "\t"])
def test_text(tmp_path: Path, separator: str) -> None:
    path = tmp_path / "k.txt"
    path.write_text(separator.join(str(i) for i in MARKS))
    np.testing.assert_array_equal(read_keypoints(path, 200), MARKS)


def test_3ddfas_coordinate_indices(shared_data: Path) -> None:
    found = read_keypoints(shared_data / "3ddfa_partial" / "keypoints_sim.npy", 53215)
    assert found[:3].tolist() == [21873, 22149, 21653]


def test_a_given_file_wins_over_one_beside_the_model(tmp_path: Path) -> None:
    np.save(tmp_path / "keypoints.npy", MARKS)
    np.save(tmp_path / "other.npy", MARKS + 1)
    np.testing.assert_array_equal(find_keypoints(None, tmp_path, 200, "m"), MARKS)
    np.testing.assert_array_equal(find_keypoints(tmp_path / "other.npy", tmp_path, 200, "m"), MARKS + 1)
    with pytest.raises(ModelFileError, match=r"m does not say where .* keypoints_sim\.npy or keypoints\.npy or"):
        find_keypoints(None, tmp_path / "..", 200, "m")


@pytest.mark.parametrize("content", ["", "1 2 3", "a b c", "1.5 " * 68, "-1 " * 68, "999 " * 68, "\x00\xff"])
def test_other_text_is_one_line(tmp_path: Path, content: str) -> None:
    (tmp_path / "k.txt").write_text(content)
    with pytest.raises(ModelFileError) as caught:
        read_keypoints(tmp_path / "k.txt", 200)
    assert "\n" not in str(caught.value)
