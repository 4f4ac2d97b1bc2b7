"""The packed ICT-FaceKit, in a file of its exact layout and in the real one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bfm_assets import ModelFileError
from bfm_assets.ict import read_ict


def test_everything_arrives(write_ict, reference, assert_same) -> None:
    model = read_ict(write_ict())
    assert_same(model, "colours", "shape_std", "expression_std")
    assert (model.shape_std == 1).all()
    assert (model.expression_std == 0.5).all()
    assert model.expression_names[:2] == ("e0", "e1")
    assert model.uv is not None
    assert model.uv.shape == (90, 2)


def test_the_real_model(shared_data: Path) -> None:
    model = read_ict(shared_data / "ict_facekit.npz")
    assert (model.n_vertices, len(model.triangles), model.n_shape, model.n_expression) == (26719, 52220, 100, 53)
    tip, chin, right_eye, left_eye = (model.mean[model.landmarks[i]] for i in (30, 8, 36, 45))
    assert right_eye[0] < tip[0] < left_eye[0]  # the subject's right is at the viewer's left: x right
    assert chin[1] < tip[1] < right_eye[1]  # y up
    assert tip[2] > max(chin[2], right_eye[2])  # z to the camera
    assert model.mm_per_unit * np.linalg.norm(left_eye - right_eye) == pytest.approx(90, abs=10)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"identity": None}, "it lacks identity"),
        ({"identity": np.zeros((3, 5, 3), np.float16)}, r"identity is \(3, 5, 3\)"),
        ({"triangles_uv": np.zeros((1, 3), int)}, "triangles is .* but triangles_uv is"),
        ({"triangles_uv": np.full((144, 3), 10**6)}, "triangles_uv must hold indices"),
        ({"neutral": np.zeros(4)}, "4 values, expected three per vertex"),
        ({"landmarks68": np.arange(5)}, "5 entries, expected 68"),
        ({"expression_names": np.array(["a"])}, "1 expression names for 10 modes"),
        ({"neutral": np.full((90, 3), np.nan, np.float32)}, "not finite"),
    ],
)
def test_inconsistent_files_are_one_line(write_ict, changes, message) -> None:
    with pytest.raises(ModelFileError, match=message):
        read_ict(write_ict(**changes))


def test_damage(write_ict, survives_damage) -> None:
    path = write_ict()
    survives_damage(path, lambda: read_ict(path))
