"""The numbers that the open face has to reach against other models and annotations."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bfm_assets import open_face, read_bfm68, read_ict
from bfm_assets.fit import fit_landmarks_3d
from train.open_face import report
from train.open_face.build import HALF_PITCH_TANGENT


@pytest.mark.parametrize(("name", "limit"), [("ict_facekit", 0.7), ("bfm68_basis", 0.8)])
def test_explains_random_faces(shared_data: Path, name: str, limit: float) -> None:
    path = shared_data / f"{name}.npz"
    other = read_ict(path) if name == "ict_facekit" else read_bfm68(path)
    assert fit_landmarks_3d(open_face(), report.random_faces(other, 100)).residual.mean() < limit


def test_head_frame_is_bfms(shared_data: Path) -> None:
    bfm, ict = read_bfm68(shared_data / "bfm68_basis.npz"), read_ict(shared_data / "ict_facekit.npz")
    assert abs(report.pitch_of(open_face(), bfm)) < 0.05
    assert report.pitch_of(ict, bfm) == pytest.approx(-2 * np.degrees(np.arctan(HALF_PITCH_TANGENT)), abs=0.2)


@pytest.mark.slow
def test_report_lines(shared_data: Path) -> None:
    lines = list(report.report(open_face(), helen=shared_data / "helen_test.tar"))
    assert "of 330, inner 51" in lines[0]
    assert float(lines[1].split("mean")[1].split("%")[0]) < 1.11  # of the first open face
