import numpy as np
import pytest

from bfm_assets import MorphableModel
from synergy.data.reader import SampleError
from synergy.data.w300lp_format import project_vertices, read_parameters, read_pose_deg

Mat = dict[str, np.ndarray]


def test_pose_is_in_degrees(fitted_mat: Mat) -> None:
    assert read_pose_deg(fitted_mat, "x.mat") == pytest.approx(np.degrees([0.1, -0.2, 0.3]), rel=1e-6)


def test_only_the_translation_in_x_moves(fitted_mat: Mat) -> None:
    params = read_parameters(fitted_mat, "x.mat")
    assert params.shape == (12 + 199 + 29,)
    pose = params[:12].reshape(3, 4)
    assert pose[:, 3] == pytest.approx([199, 250, -90])
    rotation = pose[:, :3] / 1.5e-3
    assert rotation @ rotation.T == pytest.approx(np.eye(3), abs=1e-5)
    assert -rotation[0, 2] == pytest.approx(np.sin(-0.2), abs=1e-6)


def test_vertices_are_y_down_with_zero_mean_depth(tiny_model: MorphableModel) -> None:
    params = np.zeros(12 + 199 + 29, np.float32)
    params[[0, 5, 10]] = 1e-6  # per micrometre: a thousandth of a pixel per millimetre
    params[[3, 7, 11]] = 10, 20, 30
    vertices = project_vertices(params, tiny_model, height=64)
    scale = 1e-6 / 1e-3 * tiny_model.mm_per_unit
    assert vertices[:, 0] == pytest.approx(tiny_model.mean[:, 0] * scale + 10, abs=1e-4)
    assert vertices[:, 1] == pytest.approx(64 - (tiny_model.mean[:, 1] * scale + 20), abs=1e-4)
    assert vertices[:, 2].mean() == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("bad", [np.zeros((1, 6)), np.full((1, 7), np.nan)])
def test_bad_poses_are_one_line(fitted_mat: Mat, bad: np.ndarray) -> None:
    with pytest.raises(SampleError, match=r"x\.mat: Pose_Para has"):
        read_parameters({**fitted_mat, "Pose_Para": bad}, "x.mat")


def test_against_the_landmarks_of_genuine_files(shared_data) -> None:  # type: ignore[no-untyped-def]
    """The 68-point basis has 40 of 199 and 10 of 29 modes; what is left over averages out but for the conventions."""
    from bfm_assets import read_bfm68
    from synergy.data import AFLW2000Reader

    model = read_bfm68(shared_data / "bfm68_basis.npz")
    gaps = [
        sample.landmarks68 - project_vertices(sample.params, model, len(sample.image))
        for sample in AFLW2000Reader(shared_data / "aflw2000_3d_sample")
    ]
    assert np.mean(gaps, (0, 1)) == pytest.approx([0, 0, 0], abs=0.25)
    assert np.abs(gaps).mean() < 3
