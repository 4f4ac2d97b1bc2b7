"""MorphableModel: its vertices, its file, and the arrays that it refuses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bfm_assets import ModelFileError, MorphableModel


def test_vertices_are_the_linear_model(tiny_model: MorphableModel) -> None:
    rng = np.random.default_rng(0)
    shape, expression = rng.normal(size=(5, 2, 4)), rng.normal(size=(2, 2))
    expected = (
        tiny_model.mean
        + np.einsum("vck,bpk->bpvc", tiny_model.shape_basis, shape)
        + np.einsum("vck,pk->pvc", tiny_model.expression_basis[..., :2], expression)
    )
    np.testing.assert_allclose(tiny_model.vertices(shape, expression), expected, rtol=1e-4, atol=1e-4)
    with pytest.raises(ValueError, match="4 shape and 3 expression modes, got 5 and 0"):
        tiny_model.vertices(np.zeros(5), np.zeros(0))


def test_landmark_model(tiny_model: MorphableModel) -> None:
    points = tiny_model.landmark_model()
    shape, expression = np.arange(4), np.arange(3)
    np.testing.assert_allclose(
        points.vertices(shape, expression), tiny_model.vertices(shape, expression)[tiny_model.landmarks], rtol=1e-5
    )
    assert not points.is_dense


def test_truncated(tiny_model: MorphableModel) -> None:
    few = tiny_model.truncated(2, 1)
    np.testing.assert_allclose(few.vertices(np.ones(2), np.ones(1)), tiny_model.vertices(np.ones(2), np.ones(1)))
    assert (few.n_shape, few.n_expression, few.expression_names) == (2, 1, ("a",))
    with pytest.raises(ModelFileError, match="4 shape and 3 expression modes, 5 and 1 are needed"):
        tiny_model.truncated(5, 1)


def test_a_file_brings_everything_back(tiny_model: MorphableModel, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    model = replace(
        tiny_model,
        mm_per_unit=10.0,
        uv=rng.uniform(size=(100, 2)).astype(np.float32),
        colours=rng.integers(0, 256, (100, 3), dtype=np.uint8),
        region_weights=np.stack([share := rng.integers(0, 256, 100, dtype=np.uint8), 255 - share], 1),
        region_names=("skin", "lips"),
        face_mask=rng.uniform(size=100) < 0.5,
        notice="Copyright line\n\nLicence text",
    )
    model.save(tmp_path / "a.npz")
    read = MorphableModel.load(tmp_path / "a.npz")
    for name, value in vars(model).items():
        if not name.startswith("_") and name != "digest":
            np.testing.assert_array_equal(getattr(read, name), value, name)
    assert read.digest == model.digest != tiny_model.truncated(3, 3).digest


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mean": np.zeros((99, 3), np.float32)}, "shape_basis is float32"),
        ({"mean": np.zeros((100, 3))}, "mean is float64"),
        ({"shape_basis": np.full((100, 3, 4), np.nan, np.float32)}, "not finite"),
        ({"shape_std": np.zeros(4, np.float32)}, "must be positive"),
        ({"triangles": np.full((1, 3), 100, np.int32)}, r"indices outside 0\.\.99"),
        ({"triangles": np.full((1, 3), -1, np.int32)}, r"indices outside 0\.\.99"),
        ({"landmarks": np.zeros(67, np.int32)}, r"expected .*\(68,\)"),
        ({"expression_names": ("a",)}, "1 expression names for 3 modes"),
        ({"region_weights": np.ones((100, 1), np.uint8), "region_names": ("skin",)}, "must sum to 255"),
        ({"region_weights": np.ones((100, 2), np.uint8), "region_names": ("skin",)}, r"expected .*\(100, 1\)"),
        ({"face_mask": np.ones(99, np.bool_)}, r"expected .*\(100,\)"),
        ({"mm_per_unit": 0.0}, "mm_per_unit is 0.0"),
        ({"mm_per_unit": np.nan}, "mm_per_unit is nan"),
    ],
)
def test_inconsistent_models_are_refused(tiny_model: MorphableModel, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelFileError, match=message):
        replace(tiny_model, **changes)


@pytest.mark.parametrize(
    ("name", "value"), [("mean", 1.0), ("shape_std", np.float32(1)), ("mm_per_unit", [1, 2]), ("mm_per_unit", "long")]
)
def test_damaged_files_are_one_line(tiny_model: MorphableModel, tmp_path: Path, name: str, value: object) -> None:
    tiny_model.save(tmp_path / "a.npz")
    with np.load(tmp_path / "a.npz") as arrays:
        np.savez(tmp_path / "b.npz", **{**arrays, name: np.asarray(value)})
    with pytest.raises(ModelFileError, match=r"b\.npz") as caught:
        MorphableModel.load(tmp_path / "b.npz")
    assert "\n" not in str(caught.value)
