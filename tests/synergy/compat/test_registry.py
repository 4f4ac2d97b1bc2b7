"""Networks by specification, from the command lines that take one; files that would run code are refused there too."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from typer.testing import CliRunner

from bfm_assets import ModelFileError, MorphableModel
from synergy.cli import app
from synergy.compat import load_synergynet, load_tddfa_v2
from synergy.errors import UserError
from synergy.parameters import Whitening
from synergy.registry import FAMILIES, open_network

BOX = [30, 30, 110, 120]


@pytest.fixture
def bfm_file(tmp_path: Path, bfm: MorphableModel, whitening: Whitening) -> Path:
    """The random model as a 68-point basis, which carries the whitening."""
    modes = {"shape_basis": bfm.shape_basis[..., :40], "expression_basis": bfm.expression_basis[..., :10]}
    path = tmp_path / "basis.npz"
    np.savez(path, mean=bfm.mean, param_mean62=whitening.mean, param_std62=whitening.std, **modes)
    return path


@pytest.fixture
def tddfa_v2_file(tddfa_v2_state: Callable[[float], dict[str, Tensor]], save: Callable[..., Path]) -> Path:
    return save(tddfa_v2_state(0.25))


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.jpg"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (150, 150, 3), dtype=np.uint8)).save(path)
    return path


def run(*arguments: object) -> str:
    """Run `synergy ...`; raise its exception."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def assert_same(one: Any, other: Any, crops: Tensor) -> None:
    with torch.no_grad():
        assert torch.equal(one(crops).landmarks, other(crops).landmarks)


def test_families_open_the_networks_of_the_loaders(
    tddfa_v2_state, synergynet_state, save, bfm, whitening, bfm_file, crops
) -> None:
    path = save(tddfa_v2_state(0.25))
    assert_same(open_network(f"3ddfa_v2:{path}", bfm_file), load_tddfa_v2(path, bfm, whitening), crops)
    path = save(synergynet_state)
    assert_same(open_network(f"synergynet:{path}", bfm_file), load_synergynet(path, bfm), crops)
    refined = load_synergynet(path, bfm, refine=True)
    assert_same(open_network(f"synergynet_mafa:{path}", bfm_file), refined, crops)


def test_own_weights_by_name_and_with_a_bfm(tmp_path: Path, bfm_file: Path) -> None:
    from bfm_assets import read_model
    from synergy.models import SynergyNet
    from synergy.weights import save_weights

    assert open_network("synergynet").model_id == "synergynet"
    model = read_model(bfm_file)
    save_weights(SynergyNet(model, width=0.25), tmp_path / "own.safetensors", {}, model)
    assert open_network(str(tmp_path / "own.safetensors"), bfm_file).morphable_model.digest == model.digest
    with pytest.raises(UserError, match="trained with morphable model"):
        open_network(str(tmp_path / "own.safetensors"))


def test_the_whitening_may_lie_next_to_the_bfm(tmp_path: Path, tddfa_v2_file: Path, bfm: MorphableModel, crops) -> None:
    bfm.save(tmp_path / "bfm.npz")
    with pytest.raises(
        UserError, match=r"whitening of the parameters is missing, put param_mean_std_62d_120x120\.pkl or"
    ):
        open_network(f"3ddfa_v2:{tddfa_v2_file}", tmp_path / "bfm.npz")
    entries = {"mean": np.zeros(62, np.float32), "std": np.ones(62, np.float32)}
    (tmp_path / "param_mean_std_62d_120x120.pkl").write_bytes(pickle.dumps(entries))
    output = open_network(f"3ddfa_v2:{tddfa_v2_file}", tmp_path / "bfm.npz")(crops)
    assert torch.equal(output.params[:, 12:], output.whitened[:, 12:])


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("4ddfa:{file}", "unknown family '4ddfa'; known are 3ddfa_v2:FILE, synergynet:FILE"),
        ("3ddfa_v2:none.pth", "there is no file 'none.pth'"),
        ("3ddfa_v2:", "there is no file ''"),
        ("synergynet:{file}", "not a SynergyNet MobileNetV2 checkpoint"),
        ("3ddfa_v2:{bfm}", "not a readable checkpoint"),
        ("none", "no weights 'none'"),
    ],
)
def test_wrong_specifications_are_one_line(tddfa_v2_file: Path, bfm_file: Path, spec: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        open_network(spec.format(file=tddfa_v2_file, bfm=bfm_file), bfm_file)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_missing_or_wrong_bfm_is_one_line(tddfa_v2_file: Path, tmp_path: Path, family: str) -> None:
    spec = f"{family}:{tddfa_v2_file}"
    with pytest.raises(UserError, match="needs a Basel Face Model, give one with --bfm"):
        open_network(spec)
    (tmp_path / "text.npz").write_text("no model")
    with pytest.raises((UserError, ModelFileError), match=r"text\.npz") as caught:
        open_network(spec, tmp_path / "text.npz")
    assert "\n" not in str(caught.value)


def test_foreign_networks_predict_and_are_timed(
    tmp_path: Path, tddfa_v2_file: Path, bfm_file: Path, photo: Path
) -> None:
    chosen = ("--model", f"3ddfa_v2:{tddfa_v2_file}", "--bfm", bfm_file)
    (tmp_path / "boxes.json").write_text(json.dumps({str(photo): [BOX]}))
    run(
        "predict", photo, "--boxes", tmp_path / "boxes.json", "--out", tmp_path / "out", "--format", "json,csv", *chosen
    )
    assert "3ddfa-v2-mobilenet-v1-x0.25" in (tmp_path / "out" / "predictions.json").read_text()
    quick = ("--threads", "1", "--batches", "1", "--rounds", 1, "--seconds", 0, "--repeats", 1, "--images", "")
    assert "3ddfa-v2-mobilenet-v1-x0.25" in run("bench", *quick, *chosen)


def test_a_landmark_only_bfm_draws_no_meshes(tmp_path: Path, tddfa_v2_file: Path, bfm_file: Path, photo: Path) -> None:
    boxes = tmp_path / "boxes.json"
    boxes.write_text(json.dumps({str(photo): [BOX]}))
    command = ("predict", photo, "--boxes", boxes, "--out", tmp_path / "out", "--model", f"3ddfa_v2:{tddfa_v2_file}")
    assert "no meshes are drawn" in run(*command, "--bfm", bfm_file)
    written = {path.name for path in (tmp_path / "out").rglob("*") if path.is_file() and path.name[0] != "."}
    assert written == {"photo.jpg_overlay.jpg", "predictions.json", "predictions.jsonl"}
    with pytest.raises(UserError, match="--format glb,mesh: 'bfm-68' has landmark vertices only"):
        run(*command, "--bfm", bfm_file, "--format", "mesh,glb")


def test_foreign_networks_are_scored(tmp_path: Path, tddfa_v2_file: Path, bfm_file: Path, photo: Path) -> None:
    points = "\n".join(f"{30 + i % 9 * 9} {30 + i // 9 * 11}" for i in range(68))
    photo.with_suffix(".pts").write_text(f"version: 1\nn_points: 68\n{{\n{points}\n}}\n")
    folder = tmp_path / "data"
    folder.mkdir()
    for path in (photo, photo.with_suffix(".pts")):
        path.rename(folder / path.name)
    chosen = ("--model", f"3ddfa_v2:{tddfa_v2_file}", "--bfm", bfm_file)
    run("eval", "300w", "--data", folder, "--json", tmp_path / "300w.json", *chosen)
    assert json.loads((tmp_path / "300w.json").read_text())["model_id"] == "3ddfa-v2-mobilenet-v1-x0.25"


def test_a_landmark_only_bfm_is_scored_without_dense_errors(
    tmp_path: Path, shared_data: Path, tddfa_v2_file: Path, bfm_file: Path
) -> None:
    chosen = ("--model", f"3ddfa_v2:{tddfa_v2_file}", "--bfm", bfm_file)
    folder = shared_data / "aflw2000_3d_sample"
    run("eval", "aflw2000-3d", "--data", folder, "--json", tmp_path / "a.json", *chosen)
    assert "dense" not in json.loads((tmp_path / "a.json").read_text())
    with pytest.raises(UserError, match="landmark vertices only"):
        run("eval", "aflw2000-3d", "--data", folder, "--bfm", bfm_file)


ENTRIES = {
    "predict": ("predict", "{photo}", "--model"),
    "bench": ("bench", "--model"),
    "eval": ("eval", "300w", "--data", "{data}", "--model"),
    "label predict": ("label", "predict", "{data}", "--model"),
}


@pytest.mark.parametrize("family", [*FAMILIES, ""])
@pytest.mark.parametrize("entry", ENTRIES)
def test_a_payload_is_refused_at_every_command(
    tmp_path: Path, photo: Path, bfm_file: Path, planted: Any, entry: str, family: str
) -> None:
    """A checkpoint of another project, and a weights file that is a pickle in truth."""
    photo.with_suffix(".pts").write_text("version: 1\nn_points: 68\n{\n" + "1 1\n2 2\n" * 34 + "}\n")
    evil = planted(tmp_path / ("evil.pth" if family else "evil.safetensors"), {"state_dict": {}} if family else None)
    facts = {"architecture": {}, "morphable_model": {"name": "x", "digest": "x"}, "name": "evil"}
    evil.with_suffix(".json").write_text(json.dumps(facts))
    command = [part.format(photo=photo, data=tmp_path) for part in ENTRIES[entry]]
    foreign = ["--bfm", bfm_file] if family else []
    with pytest.raises((UserError, ModelFileError)) as caught:
        run(*command, f"{family}:{evil}" if family else evil, *foreign)
    assert "\n" not in str(caught.value)
    assert not planted.ran
    if family:
        assert "this checkpoint is refused" in str(caught.value)
