"""`synergy train` in real processes, its configurations and loggers, and the export of what it trained."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from lightning.pytorch.loggers import WandbLogger
from typer.testing import CliRunner

from bfm_assets import ModelFileError, read_model
from synergy.checkpoints import read_checkpoint
from synergy.cli import app
from synergy.errors import UserError
from synergy.weights import load
from train.cli import TrainCLI, main
from train.export import export_checkpoint
from train.loggers import make_logger
from train.module import SynergyModule

ROOT = Path(__file__).parents[2]
SMALL = [
    "--config", "smoke", "--trainer.max_steps", "4", "--trainer.log_every_n_steps", "2",
    "--trainer.check_val_every_n_epoch", "1", "--data.faces", "8", "--data.batch_size", "4",
    "--data.validation_faces", "4", "--model.schedule.sizes", "{0.0: 32}", "--trainer.default_root_dir", "run",
]  # fmt: skip


def synergy(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `python -m synergy` in a folder."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), "WANDB_SILENT": "true", **environment}
    command = [sys.executable, "-m", "synergy", *arguments]
    return subprocess.run(command, cwd=folder, env=env, timeout=300, capture_output=True, text=True, check=False)


def test_a_run_in_a_folder_with_files_of_our_names(tmp_path: Path) -> None:
    # The folder of the user is first on the path of `python -m synergy`.
    for name in ("train.py", "eval.py"):
        (tmp_path / name).write_text("raise SystemExit('the code of the user ran')\n")
    result = synergy(tmp_path, "train", "fit", *SMALL, "--logger", "csv")
    assert result.returncode == 0, result.stderr
    assert re.search(r"Epoch 1 .*run: *100%", " ".join(result.stdout.split()))
    run = tmp_path / "run"
    header = (run / "metrics.csv").read_text().splitlines()[0].split(",")
    for name in ("loss", "loss/refined", "rate", "gradient_norm", "images_per_second", "waiting"):
        assert name in header
    assert any(name.startswith("synthetic/inner_") for name in header)
    checkpoint = read_checkpoint(run / "checkpoints" / "last.ckpt")
    assert checkpoint["global_step"] == 4
    assert re.fullmatch(r"([0-9a-f]{40})?", checkpoint["git"])
    result = synergy(tmp_path, "eval", "300w", "--data", "none")
    assert result.returncode == 2
    assert result.stderr.startswith("error: none")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--data.pack", "none"], "none: not a complete pack"),
        (["--model.model", "none.npz"], "none.npz"),
        (["--model.start", "none.ckpt"], "none.ckpt: no such file"),
        (["--ckpt_path", "none.ckpt"], "none.ckpt: no such file"),
        (["--config", "smok"], "--config smok: no such file; shipped configurations are direct, facesynthetics, "),
        (["--config=none.yaml"], "--config none.yaml: no such file"),
        (["--model.wdth", "2"], r"^model\.wdth: train\.module\.SynergyModule has no such option$"),
        (["--model.width", "wide"], r"^model\.width: .*wide$"),
        (["--trainer.devices", "0"], r"^trainer: .*devices='0'.* is not a valid input"),
        (["--trainer.accelerator", "none"], "^trainer: You selected an invalid accelerator name"),
    ],
)
def test_a_wrong_option_is_one_line(pack: Path, options: list[str], message: str) -> None:
    given = ["--data.pack", str(pack), "--logger", "csv", "--data.sampling_weights", "null"]
    with pytest.raises((UserError, ModelFileError), match=message) as caught:
        main(["fit", "--config", "synergynet", *given, *options])
    assert "\n" not in str(caught.value)


def run_checkpoint(path: Path, **options: object) -> Path:
    """Write a checkpoint without weights, of a run of the configuration `smoke` with other options."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"_class_path": "train.module.SynergyModule", "model": "open_face", "width": 0.25, "seed": 0} | options
    torch.save({"hyper_parameters": content, "state_dict": {}}, path)
    return path


def test_the_checkpoint_of_another_run_is_not_overwritten(tmp_path: Path) -> None:
    last = run_checkpoint(tmp_path / "run" / "checkpoints" / "last.ckpt")
    before = last.read_bytes()
    with pytest.raises(UserError, match=r"last\.ckpt is of an earlier run; continue it with --ckpt_path "):
        main(["fit", "--config", "smoke", "--logger", "csv", "--trainer.default_root_dir", str(tmp_path / "run")])
    assert last.read_bytes() == before


class StoppedError(Exception):
    """Raised in place of training."""


def test_a_run_continues_with_its_own_options_and_with_files_that_have_moved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(cli: TrainCLI) -> None:
        seen.append(cli.config[cli.subcommand].model.init_args)
        raise StoppedError

    seen: list[Any] = []
    monkeypatch.setattr(TrainCLI, "before_instantiate_classes", stop)
    checkpoint = run_checkpoint(tmp_path / "a.ckpt", seed=3, start="old/a.ckpt")
    command = ["fit", "--config", "smoke", "--ckpt_path", str(checkpoint), "--model.start", "new/a.ckpt"]
    with pytest.raises(UserError, match=r"^model\.seed is 7, but 3 in the run of .*a\.ckpt; a run continues"):
        main([*command, "--model.seed", "7"])
    with pytest.raises(StoppedError):
        main([*command, "--model.seed", "3", "--model.schedule.rate", "0.1"])
    assert (seen[0].seed, seen[0].start, seen[0].schedule.rate) == (3, "new/a.ckpt", 0.1)
    # Validation takes the network of the checkpoint.
    with pytest.raises(StoppedError):
        main(["validate", "--config", "smoke", "--ckpt_path", str(checkpoint), "--model.width", "1"])
    assert seen[1].width == 0.25


def test_validation_needs_a_checkpoint_and_leaves_the_configuration_of_a_training(tmp_path: Path) -> None:
    options = ["--config", "smoke", "--logger", "csv", "--trainer.default_root_dir", str(tmp_path)]
    options += ["--data.faces", "8", "--data.validation_faces", "2", "--trainer.enable_progress_bar", "false"]
    with pytest.raises(UserError, match=r"^validate scores a checkpoint; give it with --ckpt_path$"):
        main(["validate", *options])
    module = SynergyModule(width=0.25)
    state = {"state_dict": module.state_dict(), "pytorch-lightning_version": "2.0.0", "global_step": 0, "epoch": 0}
    torch.save({**state, "hyper_parameters": dict(module.hparams)}, tmp_path / "a.ckpt")
    (tmp_path / "config.yaml").write_text("of the training")
    main(["validate", *options, "--ckpt_path", str(tmp_path / "a.ckpt")])
    assert (tmp_path / "config.yaml").read_text() == "of the training"


def test_a_file_is_preferred_to_a_shipped_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("smoke").write_text("model: {width: none}\n")
    with pytest.raises(UserError, match=r"model\.width"):
        main(["fit", "--config", "smoke"])


@pytest.mark.parametrize("path", sorted((ROOT / "train" / "configs").glob("*.yaml")), ids=lambda path: path.stem)
def test_no_shipped_configuration_hides_the_progress_or_sends_anything(path: Path) -> None:
    config = yaml.safe_load(path.read_text())
    assert config.get("trainer", {}).get("enable_progress_bar", True)
    assert config.get("wandb", "offline") == "offline"


@pytest.mark.slow
def test_wandb_run_stays_offline_with_pictures_and_a_mesh(tmp_path: Path) -> None:
    # An address that does not exist: any attempt to send something would fail.
    environment = {"WANDB_API_KEY": "x" * 40, "WANDB_BASE_URL": "http://127.0.0.1:9", "WANDB_MODE": "online"}
    result = synergy(tmp_path, "train", "fit", *SMALL, **environment)
    assert result.returncode == 0, result.stderr
    (run,) = tmp_path.glob("run/wandb/offline-run-*")
    assert list(run.glob("files/media/images/faces_*.png"))
    assert list(run.glob("files/media/object3D/worst_mesh_*.obj"))
    # The artifact's files are staged until the run is synchronised; its record names them.
    (record,) = run.glob("run-*.wandb")
    for name in (b"synergynet", b"last.ckpt", b"config.yaml"):
        assert name in record.read_bytes()


def test_wandb_is_online_only_when_asked_and_logged_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wandb.login", lambda **_: True)
    for online in (False, True):
        logger = make_logger("wandb", tmp_path, online)
        assert isinstance(logger, WandbLogger)
        assert logger._offline is not online
    monkeypatch.setattr("wandb.login", lambda **_: False)
    assert make_logger("wandb", tmp_path)
    with pytest.raises(UserError, match="wandb login"):
        make_logger("wandb", tmp_path, online=True)


def test_exported_weights_load(model_file: Path, pack: Path, tmp_path: Path) -> None:
    module = SynergyModule(str(model_file), width=0.25)
    module.net.set_whitening(torch.zeros(22), torch.full((22,), 2.0))
    state = {f"net.{name}": value for name, value in module.net.state_dict().items()}
    content = {"state_dict": state, "hyper_parameters": dict(module.hparams), "global_step": 7, "git": "abc"}
    torch.save(content, tmp_path / "run.ckpt")
    out = tmp_path / "weights.safetensors"
    command = ["train", "export", str(tmp_path / "run.ckpt"), "--pack", str(pack), "--command", "synergy train fit"]
    result = CliRunner().invoke(app, [*command, "--out", str(out)], catch_exceptions=False)
    assert "helen_test: nme_all" in result.stdout
    facts = json.loads(out.with_suffix(".json").read_text())
    assert facts["training"]["steps"] == 7
    assert facts["training"]["git"] == "abc"
    assert facts["training"]["command"] == "synergy train fit"
    assert facts["validation"]["helen_test"]["nme_all"] > 0
    content["morphable_model"] = "another"
    torch.save(content, tmp_path / "other.ckpt")
    with pytest.raises(UserError, match=r"other\.ckpt: does not fit the morphable model 'symmetric'"):
        export_checkpoint(tmp_path / "other.ckpt", None, tmp_path / "other.safetensors")
    net = load(out, read_model(model_file))
    images = torch.rand(2, 3, 120, 120) * 255
    torch.testing.assert_close(net(images).landmarks, module.net.eval()(images).landmarks)
    for wrong in (tmp_path / "weights.pt", tmp_path / "none" / "weights.safetensors"):
        with pytest.raises(UserError, match=r"weights are written as \.safetensors"):
            CliRunner().invoke(app, [*command, "--out", str(wrong)], catch_exceptions=False)
