"""The 68-point basis, in a file of its exact layout and in the real one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bfm_assets import ModelFileError, read_bfm68


def test_everything_arrives(write_bfm68, reference) -> None:
    model = read_bfm68(write_bfm68())
    np.testing.assert_array_equal(model.mean, reference.mean[reference.landmarks])
    np.testing.assert_array_equal(model.shape_basis, reference.shape_basis[reference.landmarks])
    np.testing.assert_array_equal(model.expression_std, reference.expression_std)
    np.testing.assert_array_equal(model.landmarks, np.arange(68))
    assert not model.is_dense


def test_the_real_basis(shared_data: Path) -> None:
    model = read_bfm68(shared_data / "bfm68_basis.npz")
    assert (model.n_vertices, model.n_shape, model.n_expression) == (68, 40, 10)
    eyes = model.mean[[36, 45]]
    assert model.mm_per_unit * np.linalg.norm(eyes[1] - eyes[0]) == pytest.approx(90, abs=10)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mean": None}, "not a 68-point basis, it lacks mean"),
        ({"mean": np.zeros((67, 3), np.float32)}, "shape_basis is"),
        ({"param_std62": np.ones(61)}, "not a whitening, expected 62 means"),
        ({"param_std62": np.zeros(62)}, "62 positive standard deviations"),
        ({"shape_basis": np.zeros((68, 3, 40), "U1")}, "not an array of numbers"),
    ],
)
def test_inconsistent_files_are_one_line(write_bfm68, changes, message) -> None:
    with pytest.raises(ModelFileError, match=message):
        read_bfm68(write_bfm68(**changes))


def test_damage(write_bfm68, survives_damage) -> None:
    path = write_bfm68()
    survives_damage(path, lambda: read_bfm68(path))
