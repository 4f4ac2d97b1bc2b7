import re
import subprocess
import sys
from pathlib import Path

import pytest

import synergy

HEAVY = ("torch", "lightning", "wandb", "gradio", "kornia", "onnxruntime", "pytorch3d", "cv2", "matplotlib", "trimesh")


@pytest.mark.parametrize("module", ["synergy", "synergy.cli"])
def test_import_loads_nothing_heavy(module):
    code = f"import sys, {module}; print([m for m in {HEAVY} if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


@pytest.mark.slow
def test_a_predictor_starts_without_scipy():
    code = "import sys, synergy; synergy.FacePredictor(); print('scipy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


def test_every_public_name_resolves():
    for name in synergy.__all__:
        assert getattr(synergy, name).__name__.lower() == name.lower()
    assert dir(synergy) == sorted([*synergy.__all__, "__version__"])
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        synergy.nothing  # noqa: B018


def test_an_old_python_is_told_what_is_needed():
    code = "import sys; sys.version_info = (3, 10, 4, 'final', 0); import synergy"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.stderr.splitlines()[-1] == "ImportError: synergy needs Python 3.11 or newer, this is 3.10"


PYTHON_VERSION = r"[Pp]ython(?:_version)?(?:-requires)?[ =\"`>]*3\.(\d+)|py3(\d+)"


def test_every_file_names_the_same_python():
    root = Path(__file__).parent.parent.parent
    for name in ("pyproject.toml", "README.md", "Makefile", "CONTRIBUTING.md"):
        stated = re.findall(PYTHON_VERSION, (root / name).read_text())
        assert {"".join(groups) for groups in stated} == {"11"}, name
