"""Names and symmetry of ICT-FaceKit's expressions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bfm_assets import ModelFileError
from train.open_face.source import TEETH_END, arkit_expressions, counterpart, read_source, tooth


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("jawLeft", "jawRight"),
        ("eyeLookOutRight", "eyeLookOutLeft"),
        ("jawOpen", "jawOpen"),
        ("cheekPuff", "cheekPuff"),
    ],
)
def test_counterpart(name: str, other: str) -> None:
    assert counterpart(name) == other


def test_halves_are_joined_and_sides_symmetrised() -> None:
    rng = np.random.default_rng(0)
    names = ("browInnerUp_L", "browInnerUp_R", "eyeBlink_L", "eyeBlink_R", "jawOpen")
    raw = {name: rng.normal(size=(4, 3)) for name in names}
    mirror = np.array([1, 0, 3, 2])
    found = arkit_expressions(raw, mirror)
    assert list(found) == ["browInnerUp", "eyeBlinkLeft", "eyeBlinkRight", "jawOpen"]
    both = raw["browInnerUp_L"] + raw["browInnerUp_R"]
    np.testing.assert_allclose(found["browInnerUp"], (both + both[mirror] * [-1, 1, 1]) / 2)
    np.testing.assert_allclose(found["eyeBlinkLeft"][mirror] * [-1, 1, 1], found["eyeBlinkRight"])


def test_teeth_are_where_the_readme_says() -> None:
    assert tooth(7) == range(18067, 18143)  # central incisor, upper left
    assert tooth(31).stop == TEETH_END


def test_other_models_are_refused(tmp_path: Path) -> None:
    v = 100
    np.savez(
        tmp_path / "a.npz", neutral=np.random.default_rng(0).normal(size=(v, 3)), identity=np.zeros((2, v, 3)),
        expression=np.zeros((1, v, 3)), expression_names=np.array(["a"]), triangles=np.array([[0, 1, 2]]),
        uv=np.zeros((v, 2)), triangles_uv=np.array([[0, 1, 2]]), landmarks68=np.arange(68),
    )  # fmt: skip
    with pytest.raises(ModelFileError, match="100 vertices, ICT-FaceKit has 26719"):
        read_source(tmp_path / "a.npz")
