"""The C++ example: it is compiled, and predicts what the package predicts."""

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from synergy.deploy.exported import description_path
from synergy.deploy.formats import export_fp32
from synergy.engines import CropModel, make_engine
from synergy.face import pose_from_params

CPP = Path(__file__).parent.parent.parent / "examples" / "cpp"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    """The compiled program. The variable ONNXRUNTIME_ROOT names the folder of onnxruntime's C++ package."""
    for tool in ("cmake", "c++"):
        if shutil.which(tool) is None:
            pytest.skip(f"needs {tool}")
    build = tmp_path_factory.mktemp("build")
    configure = ["cmake", "-S", CPP, "-B", build, f"-DONNXRUNTIME_ROOT={os.environ.get('ONNXRUNTIME_ROOT', '')}"]
    configured = subprocess.run(configure, capture_output=True, text=True, check=False)
    message = " ".join(configured.stderr.split())
    if "onnxruntime's C++ package was not found" in message:
        pytest.skip("needs onnxruntime's C++ package: give its folder as ONNXRUNTIME_ROOT")
    if 'package configuration file provided by "nlohmann_json"' in message:
        pytest.skip("needs the C++ library nlohmann_json")
    assert configured.returncode == 0, configured.stderr
    built = subprocess.run([configure[0], "--build", build], capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    assert "warning:" not in built.stdout + built.stderr
    return build / "face_landmarks"


@pytest.fixture(scope="module")
def model(small_net, tmp_path_factory):
    pytest.importorskip("onnxruntime", reason="needs onnxruntime; install the extra 'onnx' (docs/install.md)")
    path = tmp_path_factory.mktemp("model") / "face.onnx"
    export_fp32("onnx", CropModel(small_net), path, np.zeros((1, 120, 120, 3), np.uint8))
    return path


def run(program, *arguments):
    return subprocess.run([program, *arguments], capture_output=True, text=True, check=False)


def test_it_predicts_what_the_package_predicts(program, model, small_net, tmp_path):
    crop = np.random.default_rng(0).integers(0, 256, (120, 120, 3), dtype=np.uint8)
    (tmp_path / "crop.rgb").write_bytes(crop.tobytes())
    (tmp_path / "crop.ppm").write_bytes(b"P6\n120 120\n255\n" + crop.tobytes())
    expected = make_engine("torch", small_net)(crop[None])
    pose = pose_from_params(expected.params[0], np.eye(2, 3))
    assert abs(pose.yaw) < 45  # beyond, the package's angles use prior knowledge
    for name in ("crop.rgb", "crop.ppm"):
        result = run(program, model, tmp_path / name)
        assert result.returncode == 0, result.stderr
        first, *lines = result.stdout.splitlines()
        words = first.split()
        assert words[::2] == ["pitch", "yaw", "roll"]
        np.testing.assert_allclose([float(w) for w in words[1::2]], [pose.pitch, pose.yaw, pose.roll], atol=0.02)
        landmarks = np.array([line.split() for line in lines], float)
        np.testing.assert_allclose(landmarks, expected.landmarks[0], atol=0.01)


BAD_CROPS = {
    "missing": (None, "cannot be opened"),
    "empty": (b"", "neither a binary PPM file"),
    "other size": (b"P6 60 50 255\n" + bytes(9000), "has 60 x 50 pixels, the model takes crops of 120 x 120"),
    "cut short": (b"P6 120 120 255\n" + bytes(9000), "is cut short"),
}


@pytest.mark.parametrize("case", BAD_CROPS)
def test_wrong_crops_are_one_line(case, program, model, tmp_path):
    content, message = BAD_CROPS[case]
    if content is not None:
        (tmp_path / "crop").write_bytes(content)
    result = run(program, model, tmp_path / "crop")
    assert result.returncode == 2
    assert message in result.stderr
    assert result.stderr.count("\n") == 1


def test_wrong_models_are_one_line(program, model, tmp_path):
    (tmp_path / "crop.rgb").write_bytes(bytes(120 * 120 * 3))
    broken = tmp_path / "face.onnx"
    broken.write_bytes(model.read_bytes()[:9999])
    for text, message in (
        (None, "face.onnx.json: cannot be opened"),
        ("{", "is not JSON"),
        ('{"format": "other"}', "is not the description of a model"),
        (description_path(model).read_text(), "error: "),
    ):
        if text is not None:
            description_path(broken).write_text(text)
        result = run(program, broken, tmp_path / "crop.rgb")
        assert result.returncode == 2
        assert message in result.stderr
        assert result.stderr.count("\n") == 1
