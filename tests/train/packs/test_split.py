"""Packs in parts: what is joined again is the pack, parts keep their size, and missing parts are reported."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from synergy.cli import app
from synergy.errors import UserError
from train.packs.merge import merge_packs
from train.packs.pack import ROW, Pack
from train.packs.split import split_pack


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    out = tmp_path / "whole"
    CliRunner().invoke(app, ["label", "render", "--out", str(out), "--faces", "24"], catch_exceptions=False)
    return out


def test_parts_are_joined_to_the_same_pack(whole: Path, tmp_path: Path) -> None:
    size = sum(file.stat().st_size for file in whole.iterdir())
    limit = size / 2.2 / 2**20
    parts = split_pack(whole, tmp_path / "parts", limit)
    assert [part.name for part in parts] == [f"part-{i}-of-{len(parts)}" for i in range(1, len(parts) + 1)]
    assert len(parts) >= 3
    for part in parts:
        assert sum(file.stat().st_size for file in part.iterdir()) <= limit * 2**20
    joined = Pack.open(merge_packs(parts, tmp_path / "joined"))
    original = Pack.open(whole)
    for name in (*ROW, "images", "offsets"):
        np.testing.assert_array_equal(joined.arrays[name], original.arrays[name])
    with pytest.raises(UserError, match=rf"parts \[1\] of {len(parts)} are given"):
        merge_packs(parts[:1], tmp_path / "again")
    with pytest.raises(UserError, match="already exists"):
        split_pack(whole, tmp_path / "parts", limit)


def test_parts_that_are_too_small_for_a_sample_are_refused(whole: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--mebibytes 0\.01: a part has no room"):
        split_pack(whole, tmp_path / "parts", 0.01)
    assert not (tmp_path / "parts").exists()


def test_quality_and_fraction(whole: Path, tmp_path: Path) -> None:
    command = ["label", "split", str(whole), "--out", str(tmp_path / "parts"), "--quality", "60"]
    CliRunner().invoke(app, [*command, "--fraction", "synthetic=0.25"], catch_exceptions=False)
    small, original = Pack.open(tmp_path / "parts" / "part-1-of-1"), Pack.open(whole)
    assert len(small) == 6
    rows = [original.names.tolist().index(name) for name in small.names.tolist()]
    assert np.diff(rows).tolist() == [4] * 5
    assert len(small.encoded(0)) < len(original.encoded(rows[0]))
    assert np.abs(small.image(0).astype(int) - original.image(rows[0])).mean() < 12
    for text in ("none=0.5", "synthetic=2", "synthetic", "synthetic=0"):
        with pytest.raises(UserError, match="--fraction"):
            CliRunner().invoke(app, [*command[:-2], "--fraction", text], catch_exceptions=False)
