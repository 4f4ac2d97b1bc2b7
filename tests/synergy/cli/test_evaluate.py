"""`synergy eval` from its command line, on real data where it is there."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from bfm_assets import MorphableModel
from synergy.cli.evaluate import _read_bfm, app
from synergy.errors import UserError

COMMANDS = ("aflw2000-3d", "300w-lp", "300w", "aflw", "voxels", "facesynthetics")
RUNNER = CliRunner()


def call(*arguments: object) -> str:
    """Standard output of `synergy eval ...`; its exception, if there is one."""
    result = RUNNER.invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_its_help(command: str) -> None:
    assert "--from-predictions" in call(command, "--help")


@pytest.mark.parametrize("command", COMMANDS)
def test_an_empty_folder_is_one_line(command: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        call(command, "--data", tmp_path)
    assert "\n" not in str(caught.value)
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize("option", ["--mirror", "--rotate=5", "--model=synergynet_small", "--engine=onnxruntime"])
def test_options_of_networks_need_one(option: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"{option.partition('=')[0]} needs a network"):
        call("aflw", "--data", tmp_path, option, "--from-predictions", "x")


@pytest.mark.parametrize("angle", ["nan", "inf"])
def test_a_rotation_is_an_angle(angle: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"--rotate {angle}: not an angle"):
        call("aflw", "--data", tmp_path, "--rotate", angle)


def test_contradictions_are_one_line(shared_data: Path, tmp_path: Path) -> None:
    folder = shared_data / "aflw2000_3d_sample"
    with pytest.raises(UserError, match="leave out --bfm or --from-predictions"):
        call("aflw2000-3d", "--data", folder, "--bfm", "x", "--from-predictions", "y")
    with pytest.raises(UserError, match="unknown data set 'x'; choose from"):
        call("voxels", "--data", folder, "--dataset", "x")


def test_3ddfa_v2_in_voxels(shared_data: Path, tmp_path: Path) -> None:
    folder = shared_data / "aflw2000_3d_sample"
    predictions = folder / "peer_3ddfa_v2_mb05.npz"
    text = call("voxels", "--data", folder, "--from-predictions", predictions, "--json", tmp_path / "v.json")
    figures = json.loads((tmp_path / "v.json").read_text())
    assert round(figures["gte"], 2) == 7.94
    assert figures["counts"]["points"] == 71
    assert "soft overlap" in text


def test_facesynthetics_and_300w_lp_from_predictions(shared_data: Path, tmp_path: Path) -> None:
    from synergy.data import FaceSyntheticsReader

    samples = list(FaceSyntheticsReader(shared_data / "facesynthetics_sample").samples(image=False))
    points = np.stack([sample.landmarks68 for sample in samples])
    np.savez(tmp_path / "p.npz", names=np.array([sample.name for sample in samples]), landmarks68=points)
    where = ("--data", shared_data / "facesynthetics_sample", "--from-predictions", tmp_path / "p.npz")
    call("facesynthetics", *where, "--json", tmp_path / "f.json")
    assert json.loads((tmp_path / "f.json").read_text())["nme2d"]["box"]["all68"]["mean"] == pytest.approx(0, abs=1e-4)
    with pytest.raises(UserError, match="lack 6 of 6 images"):
        call("300w-lp", "--data", shared_data / "300w_lp_sample", "--from-predictions", tmp_path / "p.npz")


def test_video_prints_a_table_and_writes_the_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from eval.video.benchmark import Figure

    def compare(predictor: object, photos: list[object], progress: object) -> list[Figure]:
        assert len(photos) == 2
        return [Figure("jitter, at rest", "px", 0.25, 0.05)]

    monkeypatch.setattr("eval.video.benchmark.compare", compare)
    for name in ("a.png", "b.png"):
        Image.new("RGB", (40, 30)).save(tmp_path / name)
    given = ("--photo", tmp_path / "a.png", "--photo", tmp_path / "b.png")
    text = call("video", *given, "--json", tmp_path / "video.json")
    assert [word in text for word in ("jitter, at rest", "0.25", "0.05")] == [True] * 3
    (figure,) = json.loads((tmp_path / "video.json").read_text())
    assert figure == {"name": "jitter, at rest", "unit": "px", "before": 0.25, "after": 0.05}


def test_people_who_cross_are_at_least_two(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="at least two people"):
        call("video", "--photo", tmp_path / "a.png")


def test_a_model_with_other_modes_is_only_that_of_the_network(
    tiny_model: MorphableModel, tiny_bfm: MorphableModel, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    found = {}
    for model in (tiny_model, tiny_bfm):
        model.save(tmp_path / f"{model.name}.npz")
        found[model.name] = _read_bfm({"bfm": tmp_path / f"{model.name}.npz"})
        notes = capfd.readouterr().err
        assert ("note: 'tiny' has other modes than 3DDFA's" in notes) == (model is tiny_model)
    assert found["tiny"] is None
    assert found["bfm-3ddfa"] is not None
    assert _read_bfm({"bfm": None}) is None
