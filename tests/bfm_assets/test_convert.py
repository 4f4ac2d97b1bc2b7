"""Conversion of arrays of public formats. The tests of each reader check which files it refuses."""

from __future__ import annotations

import numpy as np
import pytest

from bfm_assets import ModelFileError, convert


@pytest.mark.parametrize("shape", [(12,), (12, 1), (1, 12)])
def test_points_of_any_orientation(shape: tuple[int, ...]) -> None:
    np.testing.assert_array_equal(convert.points(np.arange(12).reshape(shape), "x"), np.arange(12).reshape(4, 3))


def test_modes_keep_the_column_of_each_mode() -> None:
    matrix = np.asfortranarray(np.arange(24.0).reshape(6, 4))
    basis = convert.modes(matrix, 2, "x")
    assert basis.shape == (2, 3, 4)
    assert basis.flags.c_contiguous
    np.testing.assert_array_equal(basis[1, 2], matrix[5])


def test_outward_triangles_stay_and_inward_ones_turn() -> None:
    tetrahedron = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], np.float32)
    faces = np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]], np.int32)
    np.testing.assert_array_equal(convert.orient_outward(tetrahedron, faces), faces)
    np.testing.assert_array_equal(convert.orient_outward(tetrahedron, faces[:, ::-1]), faces)
    np.testing.assert_array_equal(convert.orient_outward(tetrahedron * 1e3 + 1e5, faces[:, ::-1]), faces)


@pytest.mark.parametrize("array", [np.array([[1, 2, 4]]), np.array([[1.0], [2.0], [4.0]]), np.array([[1, 2, 4]], "u2")])
def test_triangles_of_either_layout_and_any_type(array: np.ndarray) -> None:
    vertices = np.array([[0, 0, 0], [1, 0, 0], [9, 9, 9], [0, 1, 0]], np.float32)
    found = convert.triangles(array, vertices, 1, "x")
    assert found.dtype == np.int32
    assert sorted(found[0].tolist()) == [0, 1, 3]


def test_landmarks_as_vertices_or_coordinates() -> None:
    vertices = np.arange(68)[::-1]
    coordinates = (3 * vertices[:, None] + np.arange(3)).reshape(1, -1)
    np.testing.assert_array_equal(convert.landmarks(vertices, 68, 0, "x"), vertices)
    np.testing.assert_array_equal(convert.landmarks(vertices[None] + 1.0, 68, 1, "x"), vertices)
    np.testing.assert_array_equal(convert.landmarks(coordinates, 68, 0, "x"), vertices)
    with pytest.raises(ModelFileError, match="not the x, y and z"):
        convert.landmarks(coordinates[:, ::-1], 68, 0, "x")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -1.0, 0.5, 1e30, 2.0**63])
def test_indices_that_are_none(bad: float) -> None:
    with pytest.raises(ModelFileError, match=r"indices from 0 to 2"):
        convert.indices(np.array([0, bad]), 3, 0, "x")


def test_numbers_too_large_for_float32_become_infinite_quietly() -> None:
    assert np.isinf(convert.numbers(np.array([1e300]), "x")).all()


def test_colours_are_scaled_and_clipped() -> None:
    found = convert.colours(np.array([0, 0.5, 1, 2, -1, 0.2]), 2, 1, "x")
    assert found.tolist() == [[0, 128, 255], [255, 0, 51]]
