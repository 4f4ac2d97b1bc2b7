"""`python -m train` end to end on a few rendered faces, its loggers, and the export of what it trained."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from bfm_assets import ModelFileError, read_model
from synergy.checkpoints import read_checkpoint
from synergy.errors import UserError
from synergy.weights import load
from train.export import export

ROOT = Path(__file__).parents[2]
SMALL = [
    "--config", str(ROOT / "train/configs/smoke.yaml"), "--trainer.max_steps", "4", "--trainer.log_every_n_steps", "2",
    "--trainer.check_val_every_n_epoch", "1", "--data.faces", "8", "--data.batch_size", "4",
    "--data.validation_faces", "4", "--model.schedule.sizes", "{0.0: 32}",
]  # fmt: skip


def train(folder: Path, *arguments: str) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "WANDB_MODE": "offline", "WANDB_SILENT": "true"}
    command = [sys.executable, "-m", "train", "fit", *SMALL, "--trainer.default_root_dir", str(folder), *arguments]
    subprocess.run(command, check=True, cwd=ROOT, env=environment, timeout=300)


def test_csv_run_leaves_metrics_and_a_checkpoint(tmp_path: Path) -> None:
    train(tmp_path, "--logger", "csv")
    header = (tmp_path / "metrics.csv").read_text().splitlines()[0].split(",")
    for name in ("loss", "loss/refined", "rate", "gradient_norm", "images_per_second", "waiting"):
        assert name in header
    assert any(name.startswith("synthetic/inner_") for name in header)
    checkpoint = read_checkpoint(tmp_path / "checkpoints" / "last.ckpt")
    assert checkpoint["global_step"] == 4
    assert re.fullmatch(r"([0-9a-f]{40})?", checkpoint["git"])


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--data.pack", "none", "none: not a complete pack"),
        ("--model.model", "none.npz", "none.npz"),
        ("--model.start", "none.ckpt", "none.ckpt: no such file"),
        ("--ckpt_path", "none.ckpt", "none.ckpt: no such file"),
    ],
)
def test_a_wrong_file_is_one_line(
    pack: Path, monkeypatch: pytest.MonkeyPatch, option: str, value: str, message: str
) -> None:
    from train.cli import main

    options = {"--data.pack": str(pack), "--logger": "csv", "--data.shares": "null", option: value}
    config = str(ROOT / "train/configs/synergynet.yaml")
    monkeypatch.setattr(sys, "argv", ["train", "fit", "--config", config, *(x for o in options.items() for x in o)])
    with pytest.raises((UserError, ModelFileError), match=message) as caught:
        main()
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_wandb_run_is_offline_with_pictures_and_a_mesh(tmp_path: Path) -> None:
    train(tmp_path)
    (run,) = tmp_path.glob("wandb/offline-run-*")
    assert list(run.glob("files/media/images/faces_*.png"))
    assert list(run.glob("files/media/object3D/worst_mesh_*.obj"))
    # The artifact's files are staged until the run is synchronised; its record names them.
    (record,) = run.glob("run-*.wandb")
    for name in (b"synergynet", b"last.ckpt", b"config.yaml"):
        assert name in record.read_bytes()


def test_exported_weights_load(model_file: Path, pack: Path, tmp_path: Path) -> None:
    from train.module import SynergyModule

    module = SynergyModule(str(model_file), width=0.25)
    module.net.set_whitening(torch.zeros(22), torch.full((22,), 2.0))
    state = {f"net.{name}": value for name, value in module.net.state_dict().items()}
    content = {"state_dict": state, "hyper_parameters": dict(module.hparams), "global_step": 7, "git": "abc"}
    torch.save(content, tmp_path / "run.ckpt")
    out = tmp_path / "weights.safetensors"
    export(tmp_path / "run.ckpt", pack, out, "python -m train fit")
    facts = json.loads(out.with_suffix(".json").read_text())
    assert facts["training"]["steps"] == 7
    assert facts["training"]["git"] == "abc"
    assert facts["validation"]["helen_test"]["nme_all"] > 0
    net = load(out, read_model(model_file))
    images = torch.rand(2, 3, 120, 120) * 255
    torch.testing.assert_close(net(images).landmarks, module.net.eval()(images).landmarks)
