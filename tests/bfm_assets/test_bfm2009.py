"""BFM 2009, in files of its exact layout. The real file is not available to the tests."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bfm_assets import ModelFileError
from bfm_assets.bfm2009 import read_bfm2009


def test_everything_arrives(write_bfm2009, assert_same) -> None:
    model = read_bfm2009(write_bfm2009())
    assert_same(model)
    assert model.mm_per_unit == 1e-3
    assert "research" in model.licence


def test_the_mat_file_or_its_folder(write_bfm2009) -> None:
    folder = write_bfm2009()
    assert read_bfm2009(folder / "01_MorphableModel.mat").digest == read_bfm2009(folder).digest


def test_landmarks_may_come_from_a_keypoint_file(write_bfm2009, reference, assert_same) -> None:
    folder = write_bfm2009(info="BFM_exp_idx.mat")
    with pytest.raises(ModelFileError, match="does not say where its 68 landmarks are"):
        read_bfm2009(folder)
    coordinates = (3 * reference.landmarks[:, None].astype(np.int64) + np.arange(3)).ravel()
    np.save(folder / "keypoints_sim.npy", coordinates)
    assert_same(read_bfm2009(folder))
    np.save(folder / "others.npy", reference.landmarks[::-1].astype(np.int64))
    model = read_bfm2009(folder, folder / "others.npy")
    np.testing.assert_array_equal(model.landmarks, reference.landmarks[::-1])


def test_without_expressions_and_trimming(write_bfm2009, reference) -> None:
    folder = write_bfm2009(expressions=False, info=None)
    np.save(folder / "keypoints.npy", np.arange(68))
    model = read_bfm2009(folder)
    assert model.n_vertices == reference.n_vertices + 3
    assert model.n_expression == 0
    assert len(model.triangles) == len(reference.triangles) + 2


def test_expressions_without_their_trim_index(write_bfm2009) -> None:
    folder = write_bfm2009(info=None)
    np.save(folder / "keypoints.npy", np.arange(68))
    with pytest.raises(ModelFileError, match=r"model_info\.mat or BFM_exp_idx\.mat is missing"):
        read_bfm2009(folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shapePC": np.zeros((278, 40), np.float32)}, "shapePC is .* expected 279 rows for 93 vertices"),
        ({"shapeMU": np.zeros((280, 1), np.float32)}, "shapeMU has 280 values"),
        ({"shapeEV": np.ones((39, 1))}, "shapeEV has 39 values for 40 modes"),
        ({"shapeEV": np.zeros((40, 1))}, "standard deviations must be positive"),
        ({"shapeMU": np.full((279, 1), np.nan)}, "not finite"),
        ({"tl": np.full((4, 3), 94.0)}, "indices from 1 to 93"),
        ({"tl": np.full((4, 3), 0.0)}, "indices from 1 to 93"),
        ({"tl": np.full((4, 3), 1.5)}, "indices from 1 to 93"),
        ({"tl": "text"}, "tl is not an array of indices"),
    ],
)
def test_inconsistent_arrays_are_one_line(write_bfm2009, changes, message) -> None:
    with pytest.raises(ModelFileError, match=message):
        read_bfm2009(write_bfm2009(**changes))


def test_expression_files_of_another_size(write_bfm2009) -> None:
    folder = write_bfm2009()
    path = folder / "Exp_Pca.bin"
    whole = path.read_bytes()
    for content in (whole[:-4], whole + b"more", b"", whole[:3], np.int32(2**30).tobytes() + whole[4:]):
        path.write_bytes(content)
        with pytest.raises(ModelFileError, match=r"Exp_Pca\.bin"):
            read_bfm2009(folder)
    path.write_bytes(whole)
    (folder / "std_exp.txt").write_text("1 2 three")
    with pytest.raises(ModelFileError, match=r"std_exp\.txt"):
        read_bfm2009(folder)


@pytest.mark.parametrize("name", ["01_MorphableModel.mat", "model_info.mat", "Exp_Pca.bin", "std_exp.txt"])
def test_damage(write_bfm2009, survives_damage, name: str) -> None:
    folder = write_bfm2009()
    survives_damage(folder / name, lambda: read_bfm2009(folder))


_PEAK = """
import resource, sys
from bfm_assets.bfm2009 import read_bfm2009
model = read_bfm2009(sys.argv[1])
assert model.n_vertices == 53215 and model.n_shape == 199 and model.n_expression == 79
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6)
"""


@pytest.mark.slow
def test_memory_of_the_full_size_stays_under_two_gigabytes(tmp_path: Path) -> None:
    import scipy.io

    rng = np.random.default_rng(0)
    v, w = 53490, 53215
    arrays = {
        "shapeMU": rng.normal(size=(3 * v, 1)).astype(np.float32),
        "shapePC": np.ones((3 * v, 199), np.float32),
        "shapeEV": np.ones((199, 1)),
        "texMU": np.full((3 * v, 1), 128.0, np.float32),
        "texPC": np.ones((3 * v, 199), np.float32),
        "tl": rng.integers(1, v + 1, (106466, 3)).astype(np.float64),
    }
    scipy.io.savemat(tmp_path / "01_MorphableModel.mat", arrays)
    trim = {"trimIndex": np.arange(1.0, w + 1), "keypoints": np.arange(1.0, 69.0)}
    scipy.io.savemat(tmp_path / "model_info.mat", trim)
    with (tmp_path / "Exp_Pca.bin").open("wb") as file:
        file.write(np.int32(79).tobytes())
        np.ones(3 * w * 80, np.float32).tofile(file)
    (tmp_path / "std_exp.txt").write_text("1 " * 79)
    done = subprocess.run([sys.executable, "-c", _PEAK, tmp_path], check=True, capture_output=True, text=True)
    peak = float(done.stdout)
    print(f"peak {peak:.2f} GB")
    assert peak < 2
