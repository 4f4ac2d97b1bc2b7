from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from bfm_assets import MorphableModel, open_face, read_bfm68
from synergy.data import W300LPReader
from synergy.errors import UserError
from synergy.landmarks import FLIP68


@pytest.fixture
def folder(tmp_path: Path, write_pair: Callable[..., None], points68: np.ndarray) -> Path:
    for k in range(2):
        write_pair(tmp_path / "AFW" / f"AFW_1_{k}", pt2d=points68.T)
    mirrored = points68 * [-1, 1] + [65, 0]  # about W + 1, in the source's order
    write_pair(tmp_path / "AFW_Flip" / "AFW_1_0", pt2d=mirrored.T)
    return tmp_path


def test_without_more_only_unrotated_images_have_landmarks(folder: Path, points68: np.ndarray) -> None:
    reader = W300LPReader(folder)
    plain, flipped = reader
    assert (plain.name, flipped.name) == ("AFW/AFW_1_0.jpg", "AFW_Flip/AFW_1_0.jpg")
    assert plain.landmarks68 == pytest.approx(points68 - 1, abs=1e-5)
    (problem,) = reader.problems
    assert problem.name == "AFW/AFW_1_1.jpg"
    assert "landmarks/ or a BFM" in problem.reason


def test_flipped_points_are_renumbered(folder: Path, points68: np.ndarray) -> None:
    flipped = list(W300LPReader(folder))[1]
    expected = (points68 * [-1, 1] + [65, 0] - 1)[FLIP68]
    assert flipped.landmarks68 == pytest.approx(expected, abs=1e-5)


def test_the_landmarks_folder_comes_first(folder: Path, points68: np.ndarray, tiny_bfm: MorphableModel) -> None:
    where = folder / "landmarks" / "AFW"
    where.mkdir(parents=True)
    savemat(where / "AFW_1_1_pts.mat", {"pts_3d": points68 + 5, "pts_2d": points68})
    reader = W300LPReader(folder)
    samples = {sample.name: sample for sample in reader}
    assert samples["AFW/AFW_1_1.jpg"].landmarks68 == pytest.approx(points68 + 4, abs=1e-5)
    assert reader.problems == []
    with_depth = {sample.name: sample for sample in W300LPReader(folder, tiny_bfm)}["AFW/AFW_1_1.jpg"]
    assert with_depth.landmarks68.shape == (68, 3)
    assert with_depth.landmarks68[:, :2] == pytest.approx(points68 + 4, abs=1e-5)


def test_a_bfm_rebuilds_all(folder: Path, tiny_bfm: MorphableModel) -> None:
    reader = W300LPReader(folder, tiny_bfm)
    samples = list(reader)
    assert len(samples) == 3
    assert all(sample.landmarks68.shape == (68, 3) for sample in samples)
    assert reader.problems == []


def test_a_model_with_other_modes_is_refused(folder: Path) -> None:
    with pytest.raises(UserError, match=r"3dmm_data, .* the 68-point basis\); 'open-face-\d' has others"):
        W300LPReader(folder, open_face())


def test_images_without_their_landmarks_are_counted(tmp_path: Path, write_pair: Callable[..., None]) -> None:
    write_pair(tmp_path / "AFW" / "AFW_1_0")
    reader = W300LPReader(tmp_path)
    assert list(reader) == []
    assert [problem.reason for problem in reader.problems] == ["AFW/AFW_1_0.mat lacks pt2d"]


def test_only_rotated_images_is_an_error_with_the_reason(tmp_path: Path, write_pair: Callable[..., None]) -> None:
    write_pair(tmp_path / "AFW" / "AFW_1_7")
    with pytest.raises(UserError, match=r"looked for pairs of .* its landmarks need landmarks/ or a BFM"):
        W300LPReader(tmp_path)


def test_genuine_files(shared_data: Path) -> None:
    by_hand = {sample.name: sample for sample in W300LPReader(shared_data / "300w_lp_sample")}
    rebuilt = {
        sample.name: sample
        for sample in W300LPReader(shared_data / "300w_lp_sample", read_bfm68(shared_data / "bfm68_basis.npz"))
    }
    assert len(by_hand) == 6
    assert len(rebuilt) == 10
    for name, sample in by_hand.items():
        gap = np.linalg.norm(sample.landmarks68 - rebuilt[name].landmarks68[:, :2], axis=1)
        assert gap[17:].mean() < 6, name
