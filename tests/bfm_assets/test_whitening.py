"""Standard deviations of the coefficients in a whitening. Which files are accepted is tested in synergy/compat."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bfm_assets import ModelFileError
from bfm_assets.whitening import read_coefficient_std, read_whitening


@pytest.fixture
def whitening_file(tmp_path: Path) -> Path:
    """A whitening whose standard deviations are 1 to 102; numbers 63 to 102 are those of texture coefficients."""
    path = tmp_path / "whitening.npz"
    np.savez(path, mean=np.zeros(102), std=np.arange(1.0, 103.0))
    return path


def test_parameters_after_the_62_are_ignored(whitening_file: Path) -> None:
    mean, std = read_whitening(whitening_file)
    assert mean.shape == std.shape == (62,)


@pytest.mark.parametrize(("n_shape", "n_expression"), [(40, 10), (30, 10), (40, 4), (3, 0)])
def test_expression_follows_all_40_shape_coefficients(whitening_file: Path, n_shape: int, n_expression: int) -> None:
    shape, expression = read_coefficient_std(whitening_file, n_shape, n_expression)
    np.testing.assert_array_equal(shape, 13 + np.arange(n_shape))
    np.testing.assert_array_equal(expression, 53 + np.arange(n_expression))


@pytest.mark.parametrize("counts", [(41, 10), (40, 11)])
def test_a_model_with_more_modes_is_refused(whitening_file: Path, counts: tuple[int, int]) -> None:
    with pytest.raises(ModelFileError, match="the whitening has 40 and 10"):
        read_coefficient_std(whitening_file, *counts)


def test_an_npz_file_is_recognised_by_content(whitening_file: Path) -> None:
    renamed = whitening_file.rename(whitening_file.with_suffix(".bin"))
    assert read_whitening(renamed)[1][0] == 1
