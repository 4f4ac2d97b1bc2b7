"""No code of the project may read a file in a way that can run what the file contains; ruff's rules are the other half.

ruff forbids `torch.load` and `torch.hub` (banned-api), `pickle.load`, `yaml.load` and shells (S). It cannot look at the
value of `allow_pickle`, so this test does.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = [path for name in ("bfm_assets", "synergy", "train", "eval") for path in sorted((ROOT / name).rglob("*.py"))]
FORBIDDEN = {
    "torch_load": "import torch\n\ntorch.load('a', weights_only=False)\n",
    "from_torch": "from torch import load\n\nload('a')\n",
    "hub": "import torch\n\ntorch.hub.load('a/b', 'c')\n",
    "pickle": "import pickle\n\npickle.loads(b'')\n",
    "yaml": "import yaml\n\nyaml.load('a', Loader=yaml.Loader)\n",
    "shell": "import subprocess\n\nsubprocess.run('ls', shell=True)\n",
    "system": "import os\n\nos.system('ls ' + 'a')\n",
    "eval": "eval('1')\n",
}


def allowed_pickles(source: str) -> list[int]:
    """Lines of calls whose `allow_pickle` is anything but the constant False."""
    return [
        node.lineno
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call)
        for keyword in node.keywords
        if keyword.arg == "allow_pickle"
        and not (isinstance(keyword.value, ast.Constant) and keyword.value.value is False)
    ]


def test_numpy_never_unpickles() -> None:
    assert allowed_pickles("np.load(a, allow_pickle=True)\nnp.load(a, allow_pickle=x)\nnp.load(a)") == [1, 2]
    assert len(SOURCES) > 100
    assert {str(path): lines for path in SOURCES if (lines := allowed_pickles(path.read_text()))} == {}


@pytest.mark.parametrize("form", FORBIDDEN)
def test_ruff_forbids(form: str) -> None:
    command = [
        sys.executable,
        "-m",
        "ruff",
        "check",
        "--no-cache",
        "--quiet",
        "--stdin-filename",
        "synergy/made_up.py",
        "-",
    ]
    checked = subprocess.run(command, input=FORBIDDEN[form], capture_output=True, text=True, check=False, cwd=ROOT)
    assert checked.returncode == 1, checked.stdout + checked.stderr
