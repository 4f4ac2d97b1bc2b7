"""Every way into training that reads a checkpoint refuses one that would run code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch

from synergy.errors import UserError
from train.checkpoint_io import SafeCheckpointIO
from train.data import PackData
from train.export import export_checkpoint
from train.face_module import Schedule
from train.module import SynergyModule
from train.warm_start import net_state


def run_content(model_file: Path) -> dict[str, Any]:
    """The content of a training run's checkpoint, of a network of random weights."""
    module = SynergyModule(str(model_file), width=0.25)
    state = {f"net.{name}": value for name, value in module.net.state_dict().items()}
    return {"state_dict": state, "hyper_parameters": dict(module.hparams), "global_step": 7, "git": "abc"}


def trainer(folder: Path, **options: Any) -> pl.Trainer:
    return pl.Trainer(
        accelerator="cpu", devices=1, max_epochs=-1, max_steps=2, default_root_dir=folder, logger=False,
        enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False, limit_val_batches=0,
        use_distributed_sampler=False, plugins=[SafeCheckpointIO()], **options,
    )  # fmt: skip


@pytest.mark.parametrize("option", ["--model.start", "--ckpt_path"])
@pytest.mark.parametrize("command", ["fit", "validate"])
def test_the_training_command_refuses_a_payload(
    model_file: Path,
    pack: Path,
    tmp_path: Path,
    planted: Any,
    option: str,
    command: str,
) -> None:
    from train.cli import main

    evil = planted(tmp_path / "evil.ckpt", run_content(model_file))
    options = ["--data.pack", str(pack), "--logger", "csv", "--data.sampling_weights", "null", option, str(evil)]
    with pytest.raises(UserError, match=r"evil\.ckpt: this checkpoint is refused") as caught:
        main([command, "--config", "synergynet", *options])
    assert "\n" not in str(caught.value)
    assert not planted.ran


def test_export_refuses_a_payload(model_file: Path, pack: Path, tmp_path: Path, planted: Any) -> None:
    evil = planted(tmp_path / "evil.ckpt", run_content(model_file))
    with pytest.raises(UserError, match="refused"):
        export_checkpoint(evil, pack, tmp_path / "out.safetensors")
    assert not planted.ran
    assert not (tmp_path / "out.safetensors").exists()


def test_lightning_refuses_a_payload_and_resumes_from_its_own(
    model_file: Path, pack: Path, tmp_path: Path, planted: Any
) -> None:
    def module() -> SynergyModule:
        return SynergyModule(str(model_file), width=0.25, schedule=Schedule(sizes={0.0: 32}))

    data = PackData(pack, str(model_file), batch_size=16)
    first = trainer(tmp_path)
    first.fit(module(), data)
    first.save_checkpoint(tmp_path / "good.ckpt")
    second = trainer(tmp_path)
    second.fit(module(), data, ckpt_path=str(tmp_path / "good.ckpt"))
    assert second.global_step == 2
    evil = planted(tmp_path / "evil.ckpt", run_content(model_file))
    for weights_only in (None, False):
        with pytest.raises(UserError, match="refused"):
            trainer(tmp_path).fit(module(), data, ckpt_path=str(evil), weights_only=weights_only)
    assert not planted.ran


def test_checkpoints_of_something_else_are_one_line(model_file: Path, pack: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="other: not a checkpoint of `synergy train`"):
        net_state({"state_dict": {"a.weight": torch.ones(1)}}, "other")
    torch.save({"state_dict": run_content(model_file)["state_dict"]}, tmp_path / "bare.ckpt")
    with pytest.raises(UserError, match="it lacks hyper_parameters, global_step, git"):
        export_checkpoint(tmp_path / "bare.ckpt", pack, tmp_path / "out.safetensors")
