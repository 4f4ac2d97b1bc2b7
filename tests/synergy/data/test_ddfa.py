import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bfm_assets import ModelFileError, open_face, read_bfm68
from synergy.data import DDFAReader
from synergy.errors import UserError

NAMES = ("x_0.jpg", "y_3.jpg", "gone.jpg")


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return exec, ("raise SystemExit('the pickle was run')",)


@pytest.fixture
def files(tmp_path: Path, write_image: Callable[..., None]) -> dict[str, Path]:
    """Two crops, a list that names three, whitened parameters and their whitening, as 3DDFA has them."""
    rng = np.random.default_rng(0)
    for name in NAMES[:2]:
        write_image(tmp_path / "crops" / name, 120, 120)
    paths = {
        "path": tmp_path / "crops",
        "list_file": tmp_path / "train_aug_120x120.list.train",
        "params_file": tmp_path / "param_all_norm_v201.pkl",
        "whitening_file": tmp_path / "param_whitening.pkl",
    }
    paths["list_file"].write_text("\n".join(NAMES) + "\n")
    paths["params_file"].write_bytes(pickle.dumps(rng.normal(size=(3, 62)).astype(np.float32)))
    whitening = {"param_mean": np.arange(62, dtype=np.float32), "param_std": np.full(62, 2, np.float32)}
    paths["whitening_file"].write_bytes(pickle.dumps(whitening))
    return paths


def test_parameters_are_dewhitened_and_zero_based(files: dict[str, Path]) -> None:
    reader = DDFAReader(**files)
    samples = list(reader)
    assert [sample.name for sample in samples] == list(NAMES[:2])
    expected = pickle.loads(files["params_file"].read_bytes())[1] * 2 + np.arange(62)
    expected[3] -= 1
    assert samples[1].params == pytest.approx(expected, rel=1e-6)
    assert np.isnan(samples[0].landmarks68).all()
    assert (samples[0].visibility68 == -1).all()
    assert [problem.name for problem in reader.problems] == ["gone.jpg"]


def test_a_pickle_that_runs_code_is_refused(files: dict[str, Path]) -> None:
    files["params_file"].write_bytes(pickle.dumps(Evil()))
    with pytest.raises(ModelFileError, match="exec"):
        DDFAReader(**files)


@pytest.mark.parametrize("bad", [np.zeros((3, 61)), np.zeros(62), [1, 2]])
def test_other_shapes_are_one_line(files: dict[str, Path], bad: object) -> None:
    files["params_file"].write_bytes(pickle.dumps(bad))
    with pytest.raises(UserError, match=r"expected parameters \(N, 62\)"):
        DDFAReader(**files)


def test_list_and_parameters_must_agree(files: dict[str, Path]) -> None:
    files["list_file"].write_text("x_0.jpg\n")
    with pytest.raises(UserError, match="names 1 images, but there are 3 parameters"):
        DDFAReader(**files)
    files["list_file"].write_text("a.jpg\nb.jpg\nc.jpg\n")
    with pytest.raises(UserError, match=r"looked for the images that train_aug_120x120\.list\.train names"):
        DDFAReader(**files)


def test_a_model_with_other_modes_is_refused(files: dict[str, Path]) -> None:
    with pytest.raises(UserError, match="need a Basel Face Model with 3DDFA's modes"):
        DDFAReader(**files, model=open_face())


def test_landmarks_of_the_teacher_are_rebuilt(shared_data: Path, tmp_path: Path, files: dict[str, Path]) -> None:
    """The pack's teacher parameters, whitened as 3DDFA's are, land at x = V_x - 1, y = 120 - V_y."""
    basis = np.load(shared_data / "bfm68_basis.npz")
    teacher = np.load(shared_data / "aflw_val_teacher.npz")
    whitened = (teacher["params62"][:3] - basis["param_mean62"]) / basis["param_std62"]
    files["params_file"].write_bytes(pickle.dumps(whitened.astype(np.float32)))
    files["whitening_file"] = shared_data / "bfm68_basis.npz"
    sample = next(iter(DDFAReader(**files, model=read_bfm68(shared_data / "bfm68_basis.npz"))))
    p = teacher["params62"][0].astype(float)
    shape = basis["mean"] + basis["shape_basis"] @ p[12:52] + basis["expression_basis"] @ p[52:]
    v = shape @ p[:12].reshape(3, 4)[:, :3].T + p[:12].reshape(3, 4)[:, 3]
    assert sample.landmarks68[:, :2] == pytest.approx(np.stack([v[:, 0] - 1, 120 - v[:, 1]], 1), abs=1e-2)
