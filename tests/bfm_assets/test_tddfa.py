"""3DDFA's folder, in files of its exact layout and in the real ones that are available."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import scipy.io

from bfm_assets import ModelFileError, read_bfm68
from bfm_assets.tddfa import read_3dmm_data


def test_everything_arrives(write_3dmm_data, assert_same) -> None:
    model = read_3dmm_data(write_3dmm_data())
    assert_same(model, "colours")
    assert model.colours is None
    assert model.mm_per_unit == 1e-3


def test_real_mean_triangles_and_landmarks(shared_data: Path, tmp_path: Path) -> None:
    real = shared_data / "3ddfa_partial"
    for name in ("u_shp.npy", "u_exp.npy", "keypoints_sim.npy", "tri.mat", "param_whitening.pkl"):
        shutil.copy(real / name, tmp_path)
    rng = np.random.default_rng(0)
    for name, count in (("w_shp_sim", 40), ("w_exp_sim", 10)):
        np.save(tmp_path / f"{name}.npy", rng.normal(size=(159645, count)).astype(np.float32))
    model = read_3dmm_data(tmp_path)
    assert (model.n_vertices, len(model.triangles)) == (53215, 105840)
    np.testing.assert_array_equal(model.mean[model.landmarks], read_bfm68(shared_data / "bfm68_basis.npz").mean)
    # the triangle at the nose tip looks at the camera: the winding, reversed in the file, was put right
    around_nose = model.triangles[(model.triangles == model.landmarks[30]).any(1)]
    a, b, c = (model.mean[around_nose[:, i]] for i in range(3))
    assert (np.cross(b - a, c - a)[:, 2] > 0).all()


def test_real_fitted_vertices_have_this_topology(shared_data: Path) -> None:
    real = shared_data / "3ddfa_partial"
    vertices = scipy.io.loadmat(real / "image00427.mat")["vertex"].T
    landmarks = vertices[np.load(real / "keypoints_sim.npy")[::3] // 3]
    assert landmarks.shape == (68, 3)
    tip, chin, brows = landmarks[30], landmarks[8], landmarks[17:27]
    assert tip[2] > landmarks[:17, 2].max()  # z towards the camera
    assert chin[1] < tip[1] < brows[:, 1].min()  # y up, as the parameters place it


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"u_exp": np.zeros((9, 1))}, "90 vertices in u_shp.npy and 3 in u_exp.npy"),
        ({"w_shp_sim": np.zeros((269, 40))}, r"w_shp_sim\.npy is \(269, 40\), expected 270 rows"),
        ({"w_exp_sim": None}, r"w_exp_sim\.npy: no such file"),
        ({"w_exp_sim": np.array([{}])}, r"w_exp_sim\.npy: not a readable"),
        (
            {"w_shp_sim": np.zeros((270, 41))},
            "41 shape and 10 expression modes, but the whitening has 40 and 10",
        ),
        ({"keypoints_sim": np.arange(204) + 1}, "not the x, y and z of 68 vertices"),
        ({"keypoints_sim": np.arange(204) + 270}, r"indices from 0 to 269"),
        ({"keypoints_sim": np.arange(67)}, "67 entries, expected 68 landmarks"),
    ],
)
def test_inconsistent_files_are_one_line(write_3dmm_data, changes, message) -> None:
    with pytest.raises(ModelFileError, match=message):
        read_3dmm_data(write_3dmm_data(**changes))


@pytest.mark.parametrize("name", ["u_shp.npy", "w_exp_sim.npy", "keypoints_sim.npy", "tri.mat", "param_whitening.pkl"])
def test_damage(write_3dmm_data, survives_damage, name: str) -> None:
    folder = write_3dmm_data()
    survives_damage(folder / name, lambda: read_3dmm_data(folder))
