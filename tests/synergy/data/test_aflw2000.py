from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from synergy.data import AFLW2000Reader
from synergy.data.sample import VISIBLE
from synergy.errors import UserError


@pytest.fixture
def points(points68: np.ndarray) -> np.ndarray:
    """`pt3d_68` as a file has it, (3, 68)."""
    return np.concatenate([points68, np.arange(68)[:, None]], 1).T.astype(np.float32)


def test_one_pixel_and_the_mean_depth_come_off(
    tmp_path: Path, write_pair: Callable[..., None], points: np.ndarray
) -> None:
    write_pair(tmp_path / "sub" / "image00002", pt3d_68=points)
    (sample,) = AFLW2000Reader(tmp_path)
    assert sample.name == "sub/image00002.jpg"
    assert sample.landmarks68[:, :2] == pytest.approx(points.T[:, :2] - 1)
    assert sample.landmarks68[:, 2] == pytest.approx(np.arange(68) - 33.5)
    assert (sample.visibility68 == VISIBLE).all()
    assert sample.image.shape == (64, 64, 3)
    assert sample.image[0, 0].tolist() == [254, 0, 0]
    assert sample.pose_deg == pytest.approx(np.degrees([0.1, -0.2, 0.3]), rel=1e-6)


def test_broken_files_are_named_counted_and_skipped(
    tmp_path: Path, write_pair: Callable[..., None], points: np.ndarray
) -> None:
    write_pair(tmp_path / "good", pt3d_68=points)
    write_pair(tmp_path / "other_variables", pt3d=points)
    write_pair(tmp_path / "too_few", pt3d_68=points[:, :67])
    write_pair(tmp_path / "nan", pt3d_68=points * np.nan)
    write_pair(tmp_path / "no_pose", pt3d_68=points, Pose_Para=None)
    write_pair(tmp_path / "cut", pt3d_68=points)
    (tmp_path / "cut.mat").write_bytes((tmp_path / "cut.mat").read_bytes()[:400])
    write_pair(tmp_path / "black", pt3d_68=points)
    (tmp_path / "black.jpg").write_bytes(b"")
    write_pair(tmp_path / "alone", pt3d_68=points)
    (tmp_path / "alone.mat").unlink()
    write_pair(tmp_path / "blind", pt3d_68=points)
    (tmp_path / "blind.jpg").unlink()
    reader = AFLW2000Reader(tmp_path)
    assert [sample.name for sample in reader] == ["good.jpg"]
    reasons = {problem.name: problem.reason for problem in reader.problems}
    assert reasons == {
        "alone.jpg": "no alone.mat in its folder",
        "blind.mat": "no image of this name in its folder",
        "black.jpg": "the image file is empty",
        "cut.jpg": reasons["cut.jpg"],
        "nan.jpg": "nan.mat: pt3d_68 transposed has values that are not finite",
        "no_pose.jpg": "no_pose.mat: it lacks the variable Pose_Para",
        "other_variables.jpg": "other_variables.mat: it lacks the variable pt3d_68",
        "too_few.jpg": "too_few.mat: pt3d_68 transposed is 67x3, expected 68x3",
    }
    assert "cut.mat: incomplete" in reasons["cut.jpg"]


def test_a_folder_without_pairs_says_what_was_looked_for(tmp_path: Path) -> None:
    (tmp_path / "readme.txt").write_text("x")
    with pytest.raises(UserError, match=r"nothing to read as aflw2000-3d; looked for pairs of \.jpg and \.mat"):
        AFLW2000Reader(tmp_path)


def test_the_sample(shared_data: Path) -> None:
    reader = AFLW2000Reader(shared_data / "aflw2000_3d_sample")
    samples = list(reader)
    assert len(samples) == 48
    assert reader.problems == []
    frontal = min(samples, key=lambda sample: abs(sample.pose_deg[1]))
    assert frontal.landmarks68[30, 2] > frontal.landmarks68[[0, 16], 2].max()  # the nose is nearer than the ears
