import subprocess
import sys
from pathlib import Path
from pkgutil import resolve_name

import pytest

from synergy.result_formats import DEFAULT_FORMATS, RESULT_FORMATS

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.parametrize("one", RESULT_FORMATS.values(), ids=RESULT_FORMATS)
def test_every_format_has_a_function(one):
    assert callable(resolve_name(one.function))
    assert one.suffix.startswith(".")
    assert one.is_map <= (one.kind == "picture")


def test_the_default_formats_exist():
    assert set(DEFAULT_FORMATS.split(",")) <= set(RESULT_FORMATS)


def test_the_table_loads_nothing_heavy():
    code = "import sys, synergy.result_formats; print([m for m in ('numpy', 'cv2', 'torch') if m in sys.modules])"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert shown.stdout.strip() == "[]"
