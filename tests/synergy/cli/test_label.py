import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from synergy.cli import app
from synergy.demo import random_face
from synergy.draw import draw_mesh
from synergy.errors import UserError
from synergy.export import write_pts
from train.packs.pack import Pack


def run(*args):
    return CliRunner().invoke(app, ["label", *map(str, args)])


@pytest.fixture
def dataset(tmp_path):
    """Six rendered faces with 300-W points."""
    folder = tmp_path / "faces"
    folder.mkdir()
    for i in range(6):
        face = random_face((0, 10 * i - 25, 0), seed=i)
        picture = draw_mesh(
            np.full((256, 256, 3), 40 * i, np.uint8),
            face.vertices(),
            face.morphable_model.triangles,
            face.morphable_model.colours,
        )
        Image.fromarray(picture).save(folder / f"{i}.jpg")
        write_pts(folder / f"{i}.pts", face.landmarks68)
    return folder


def test_a_data_set_becomes_a_pack_and_a_sheet(tmp_path, dataset):
    result = run("build", dataset, "--out", tmp_path / "pack")
    assert result.exit_code == 0, result.output
    pack = Pack.open(tmp_path / "pack")
    assert len(pack) == 6
    assert np.abs(np.sort(pack.pose_deg[:, 1]) - np.arange(-25, 30, 10)).max() < 6
    result = run("show", tmp_path / "pack", "--out", tmp_path / "sheet.png")
    assert result.exit_code == 0, result.output
    assert Image.open(tmp_path / "sheet.png").width > 500


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["build", "gone", "--out", "x"], "no such file"),
        (["show", "gone"], "gone"),
        (["build", "gone", "--out", "x", "--split", "foo"], "--split foo: choose train or val"),
    ],
)
def test_mistakes_are_one_line(tmp_path, monkeypatch, args, message):
    monkeypatch.chdir(tmp_path)
    result = run(*args)
    assert isinstance(result.exception, UserError)
    assert message in str(result.exception)


def test_a_data_set_may_have_the_name_of_a_command(tmp_path, dataset, monkeypatch):
    monkeypatch.chdir(tmp_path)
    dataset.rename(tmp_path / "show")
    result = run("build", "show", "--out", "pack", "--limit", 2)
    assert result.exit_code == 0, result.output
    assert set(Pack.open("pack").sources) == {"show"}


def test_packs_of_shards_are_joined_to_the_pack_of_the_whole(tmp_path, dataset):
    arguments = ("build", dataset, "--out")
    assert run(*arguments, tmp_path / "whole").exit_code == 0
    for i in (1, 2):
        result = run(*arguments, tmp_path / f"part{i}", "--shard", f"{i}/2")
        assert result.exit_code == 0, result.output
    assert run("merge", tmp_path / "part1", tmp_path / "part2", "--out", tmp_path / "joined").exit_code == 0
    whole, joined = Pack.open(tmp_path / "whole"), Pack.open(tmp_path / "joined")
    rows = {name: i for i, name in enumerate(joined.names.tolist())}
    assert len(Pack.open(tmp_path / "part1")) in range(1, 6)
    assert sorted(rows) == sorted(whole.names.tolist())
    order = [rows[name] for name in whole.names.tolist()]
    for name in ("landmarks68", "params", "pose_deg", "weight", "crop"):
        np.testing.assert_allclose(joined.arrays[name][order], whole.arrays[name], rtol=1e-4, atol=1e-4)
    assert all(np.array_equal(joined.image(row), whole.image(i)) for i, row in enumerate(order))


def test_a_bad_shard_is_one_line(tmp_path, dataset):
    result = run("build", dataset, "--out", tmp_path / "pack", "--shard", "0/2")
    assert str(result.exception) == "--shard 0/2: expected i/n with i from 1 to n, for example 1/4"
    assert not (tmp_path / "pack").exists()
