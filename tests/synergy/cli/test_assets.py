"""`synergy assets` on the bundled model and on files of another format."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from bfm_assets import ModelFileError, MorphableModel, open_face, read_model
from synergy.cli.assets import app
from synergy.errors import UserError


@pytest.fixture
def points_file(tmp_path: Path) -> Path:
    """A small foreign file: the open face's landmarks in the layout of the 68-point basis."""
    model = open_face().landmark_model().truncated(40, 10)
    path = tmp_path / "points.npz"
    std = np.concatenate([np.ones(12), model.shape_std, model.expression_std])
    bases = {"shape_basis": model.shape_basis, "expression_basis": model.expression_basis}
    np.savez(path, mean=model.mean, **bases, param_mean62=np.zeros(62), param_std62=std)
    return path


def _run(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(a) for a in arguments], catch_exceptions=False)
    assert result.exit_code == 0
    return result.output


def test_list(points_file: Path) -> None:
    assert "open-face" in _run("list")
    output = _run("list", points_file)
    assert "bfm-68" in output
    assert "68 vertices, 0 triangles, no mesh" in output


def test_import_writes_a_model_and_a_picture(points_file: Path, tmp_path: Path) -> None:
    target = tmp_path / "new" / "model.npz"
    output = _run("import", points_file, "--to", target)
    for expected in ("68-point basis", "one unit is 0.001 mm", "assumed: ", "licence: Basel Face Model", "do not pass"):
        assert expected in output
    assert read_model(target).digest == read_model(points_file).digest
    with Image.open(target.with_suffix(".png")) as picture:
        assert picture.width == 3 * picture.height
        assert np.asarray(picture).std() > 5


def test_import_errors(points_file: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"written as \.npz"):
        _run("import", points_file, "--to", tmp_path / "model.obj")
    with pytest.raises(ModelFileError, match="no such file"):
        _run("import", tmp_path / "missing", "--to", tmp_path / "model.npz")
    with pytest.raises(ModelFileError, match="not a morphable model; known formats are"):
        _run("import", tmp_path, "--to", tmp_path / "model.npz")
    with pytest.raises(UserError, match=r"points\.npz: cannot be written to"):
        _run("import", points_file, "--to", points_file / "model.npz")
    assert not (tmp_path / "model.npz").exists()


def test_show_draws_four_sheets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_model: MorphableModel) -> None:
    monkeypatch.setattr("synergy.sheets.N_PEOPLE", 3)
    tiny_model.save(tmp_path / "model.npz")
    output = _run("show", tmp_path / "model.npz", "--out", tmp_path / "sheets")
    assert "people.png: 3 faces" in output
    assert {path.stem for path in (tmp_path / "sheets").iterdir()} == {"mean", "shape", "expression", "people"}


def test_build_and_report_errors(points_file: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"models are written as \.npz"):
        _run("build", "--ict", points_file, "--to", tmp_path / "face.obj")
    with pytest.raises(ModelFileError, match="not a packed ICT-FaceKit, it lacks neutral"):
        _run("build", "--ict", points_file, "--to", tmp_path / "face.npz")
    assert not (tmp_path / "face.npz").exists()
    with pytest.raises(UserError, match="nothing to measure against: give --ict, --bfm68 or --helen"):
        _run("report")


def test_report_measures_a_model(points_file: Path) -> None:
    output = _run("report", "--bfm68", points_file)
    assert "bfm-68, 500 random faces: mean" in output
    assert "looks up by +0.00 degrees" in output or "looks up by -0.00 degrees" in output
