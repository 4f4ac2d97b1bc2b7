import subprocess
import sys

import pytest

import synergy

HEAVY = ("torch", "lightning", "wandb", "gradio", "kornia", "onnxruntime", "pytorch3d", "cv2", "matplotlib", "trimesh")


@pytest.mark.parametrize("module", ["synergy", "synergy.cli"])
def test_import_loads_nothing_heavy(module):
    code = f"import sys, {module}; print([m for m in {HEAVY} if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_every_public_name_resolves():
    for name in synergy.__all__:
        assert getattr(synergy, name).__name__.lower() == name.lower()
        assert name in dir(synergy)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        synergy.nothing  # noqa: B018
