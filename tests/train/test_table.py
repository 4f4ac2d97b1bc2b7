"""The table of several weights files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from synergy.cli import app
from synergy.errors import UserError
from train.table import COLUMNS


def test_a_row_for_each_description(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    figures = {"aflw_val": {"inner_mean": 3.456, "pose_all": 2.5}, "helen_test": {"inner_all": 2.4}}
    (tmp_path / "a" / "full.json").write_text(json.dumps({"validation": figures}))
    (tmp_path / "other.json").write_text(json.dumps({"validation": {}}))
    command = ["train", "table", str(tmp_path / "a"), str(tmp_path / "other.json"), "--out", str(tmp_path / "t.md")]
    CliRunner().invoke(app, command, catch_exceptions=False)
    lines = (tmp_path / "t.md").read_text().splitlines()
    assert lines[0] == "| | " + " | ".join(COLUMNS) + " |"
    assert lines[2] == "| full | 3.46 | - | - | - | 2.50 | 2.40 | - |"
    assert lines[3] == "| other | - | - | - | - | - | - | - |"
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(UserError, match=r"other\.json: not the description of weights"):
        CliRunner().invoke(app, command, catch_exceptions=False)
