"""`--renderer` reaches the drawing of meshes in every command that has it, and is refused before any work."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from bfm_assets import MorphableModel
from synergy.camera import has_pytorch3d
from synergy.cli import app
from synergy.errors import UserError
from synergy.raster import Fragments, rasterize


@pytest.fixture
def commands(tmp_path: Path, tiny_model: MorphableModel) -> dict[str, list[str]]:
    """Command lines that draw meshes, by the name of the command."""
    folder = tmp_path / "data"
    folder.mkdir()
    image = np.random.default_rng(0).integers(0, 256, (150, 150, 3), dtype=np.uint8)
    Image.fromarray(image).save(folder / "photo.jpg")
    points = "\n".join(f"{30 + i % 9 * 9} {30 + i // 9 * 11}" for i in range(68))
    (folder / "photo.pts").write_text(f"version: 1\nn_points: 68\n{{\n{points}\n}}\n")
    (tmp_path / "boxes.json").write_text(json.dumps({str(folder / "photo.jpg"): [[30, 30, 110, 110]]}))
    tiny_model.save(tmp_path / "model.npz")
    out = str(tmp_path / "out")
    return {
        "predict": ["predict", str(folder / "photo.jpg"), "--out", out, "--boxes", str(tmp_path / "boxes.json")],
        "eval": ["eval", "300w", "--data", str(folder), "--report", out],
        "assets show": ["assets", "show", str(tmp_path / "model.npz"), "--out", out],
    }


def run(*arguments: str) -> None:
    result = CliRunner().invoke(app, arguments)
    if result.exception is not None:
        raise result.exception


@pytest.mark.parametrize("command", ["predict", "eval", "assets show"])
def test_the_chosen_rasterizer_draws(
    commands: dict[str, list[str]], command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []

    def counting(points: Any, triangles: Any, height: int, width: int) -> Fragments:
        calls.append(len(triangles))
        return rasterize(points, triangles, height, width)

    monkeypatch.setattr("synergy.sheets.N_PEOPLE", 1)
    monkeypatch.setattr("synergy.raster.has_pytorch3d", lambda: True)
    monkeypatch.setattr("synergy.raster.rasterize_pytorch3d", counting)
    run(*commands[command])
    assert not calls
    run(*commands[command], "--renderer", "pytorch3d")
    assert calls


@pytest.mark.skipif(has_pytorch3d(), reason="pytorch3d is installed")
@pytest.mark.parametrize("command", ["predict", "eval", "assets show"])
def test_without_pytorch3d_it_is_one_line_before_any_work(
    commands: dict[str, list[str]], command: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="--renderer pytorch3d: pytorch3d is not installed"):
        run(*commands[command], "--renderer", "pytorch3d")
    assert not (tmp_path / "out").exists()


def test_an_unknown_renderer_is_refused(commands: dict[str, list[str]]) -> None:
    result = CliRunner().invoke(app, [*commands["predict"], "--renderer", "crayon"])
    assert result.exit_code == 2
    assert "crayon" in result.output
