"""MATLAB files by variable."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import scipy.io

from bfm_assets import ModelFileError
from bfm_assets.matfile import read_mat, variables


@pytest.mark.parametrize("compressed", [True, False])
def test_only_what_is_asked_for(tmp_path: Path, compressed: bool) -> None:
    path = tmp_path / "a.mat"
    scipy.io.savemat(path, {"x": np.arange(3.0), "y": np.ones((2, 2)), "z": 1}, do_compression=compressed)
    assert set(variables(path)) == {"x", "y", "z"}
    found = read_mat(path, ("x",), ("y", "missing"))
    assert set(found) == {"x", "y"}
    assert found["x"].tolist() == [[0, 1, 2]]


def test_missing_variables(tmp_path: Path) -> None:
    scipy.io.savemat(tmp_path / "a.mat", {"x": 1})
    with pytest.raises(ModelFileError, match="it lacks the variables y, z"):
        read_mat(tmp_path / "a.mat", ("x", "y", "z"))


def test_matlab_7_3(tmp_path: Path) -> None:
    (tmp_path / "a.mat").write_bytes(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(512) + b"\x89HDF\r\n\x1a\n")
    with pytest.raises(ModelFileError, match="save it again with -v7"):
        variables(tmp_path / "a.mat")


def test_a_variable_that_claims_too_much(tmp_path: Path) -> None:
    path = tmp_path / "a.mat"
    scipy.io.savemat(path, {"x": np.zeros((12345, 3), np.uint8)})
    content = path.read_bytes()
    shape = np.array([12345, 3], "<i4").tobytes()
    assert content.count(shape) == 1
    path.write_bytes(content.replace(shape, np.array([2**31 - 1, 3], "<i4").tobytes()))
    with pytest.raises(ModelFileError, match="GB, no morphable model does"):
        read_mat(path, ("x",))


@pytest.mark.parametrize("content", [b"", b"text", b"MATLAB 5.0 MAT-file".ljust(128)])
def test_other_files_are_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.mat").write_bytes(content)
    with pytest.raises(ModelFileError) as caught:
        read_mat(tmp_path / "a.mat", ("x",))
    assert "\n" not in str(caught.value)
    with pytest.raises(ModelFileError, match="no such file"):
        read_mat(tmp_path / "b.mat", ("x",))
