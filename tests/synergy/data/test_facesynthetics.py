from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from synergy.data import FaceSyntheticsReader


def test_68_of_70_points_as_they_stand(tmp_path: Path, write_image: Callable[..., None]) -> None:
    rows = np.arange(140).reshape(70, 2) / 4
    for name in ("000000.png", "000000_seg.png", "000001.png", "000002.png"):
        write_image(tmp_path / name)
    np.savetxt(tmp_path / "000000_ldmks.txt", rows, fmt="%.3f")
    np.savetxt(tmp_path / "000001_ldmks.txt", rows[:68], fmt="%.3f")
    (tmp_path / "000002_ldmks.txt").write_text("1 x\n")
    reader = FaceSyntheticsReader(tmp_path)
    (sample,) = reader
    assert sample.landmarks68 == pytest.approx(rows[:68])
    assert {problem.name: problem.reason for problem in reader.problems} == {
        "000001.png": "000001_ldmks.txt is 68x2, expected 70x2",
        "000002.png": "000002_ldmks.txt has a line that is not a point 'x y'",
    }


def test_the_sample(shared_data: Path) -> None:
    reader = FaceSyntheticsReader(shared_data / "facesynthetics_sample")
    assert [sample.image.shape for sample in reader] == [(512, 512, 3)] * 4
    assert reader.problems == []
