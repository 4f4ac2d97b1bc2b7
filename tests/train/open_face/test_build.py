"""The shipped file is what the builder builds, on every kind of processor."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bfm_assets import open_face

ROOT = Path(__file__).parents[3]
FILE = ROOT / "bfm_assets" / "data" / "open_face.npz"
# OpenBLAS kernels of several generations of processors, two numbers of threads, numpy without its newer instructions.
ENVIRONMENTS = [
    {"OPENBLAS_CORETYPE": "Haswell", "OPENBLAS_NUM_THREADS": "1"},
    {"OPENBLAS_CORETYPE": "SkylakeX", "OPENBLAS_NUM_THREADS": "2"},
    {"OPENBLAS_CORETYPE": "Prescott", "NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4"},
]


@pytest.mark.slow
@pytest.mark.parametrize("environment", ENVIRONMENTS, ids=lambda e: e["OPENBLAS_CORETYPE"])
def test_the_same_bytes_everywhere(environment: dict[str, str], shared_data: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", "from synergy.cli import main; main()", "assets", "build"]
    command += ["--ict", str(shared_data / "ict_facekit.npz"), "--to", str(tmp_path / "face.npz")]
    result = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=ROOT, env=os.environ | environment
    )
    assert result.returncode == 0, result.stderr
    assert open_face().digest in result.stdout
    assert (tmp_path / "face.npz").read_bytes() == FILE.read_bytes()
