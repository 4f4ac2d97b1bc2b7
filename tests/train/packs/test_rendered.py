"""A pack of rendered faces holds what was rendered, and goes on where it was cut off."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from bfm_assets import open_face
from synergy.cli.label import app
from synergy.errors import UserError
from train.packs import rendered
from train.packs.pack import Pack
from train.synthetic import SyntheticSet, render_face


def test_labels_are_the_rendered_faces(tmp_path: Path) -> None:
    model, seen = open_face(), []
    path = rendered.render_pack(tmp_path, model, 3, 5, lambda done, total: seen.append((done, total)))
    pack = Pack.open(path)
    face = render_face(model, np.random.default_rng([5, 2]), 120)
    np.testing.assert_array_equal(pack.landmarks68[2], face.landmarks68)
    np.testing.assert_array_equal(pack.annotated68[2], face.landmarks68[:, :2])
    np.testing.assert_array_equal(pack.params[2], face.params)
    assert np.abs(pack.image(2).astype(int) - face.image).mean() < 4  # JPEG
    assert pack.names.tolist() == ["5-0", "5-1", "5-2"]
    assert set(pack.split) == {"train"}
    assert seen == [(3, 3)]


def test_a_cut_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rendered, "_PART", 2)
    model = open_face()

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rendered.render_pack(tmp_path / "cut", model, 3, 0, stop)
    drawn: list[int] = []

    def count(*arguments: object) -> object:
        drawn.append(1)
        return render_face(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(rendered, "render_face", count)
    cut = Pack.open(rendered.render_pack(tmp_path / "cut", model, 3, 0, lambda *_: None))
    assert len(drawn) == 1
    whole = Pack.open(rendered.render_pack(tmp_path / "whole", model, 3, 0, lambda *_: None))
    assert cut.manifest["sha256"] == whole.manifest["sha256"]


def test_a_model_without_a_mesh_is_refused(tmp_path: Path) -> None:
    points = open_face().landmark_model()
    with pytest.raises(UserError, match="has no mesh: rendering needs a dense one"):
        rendered.render_pack(tmp_path / "pack", points, 1, 0, lambda *_: None)
    assert not (tmp_path / "pack").exists()
    with pytest.raises(UserError, match="has no mesh: rendering needs a dense one"):
        SyntheticSet(points, 0, 1, keep=False)


def test_command_writes_a_pack(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["render", "--out", str(tmp_path), "--faces", "2"])
    assert result.exit_code == 0, result.output
    assert len(Pack.open(tmp_path)) == 2
