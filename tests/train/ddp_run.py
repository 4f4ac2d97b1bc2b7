"""Four steps with global batches of 16 on 1 or 2 CPU processes: MODEL PACK OUT DEVICES. Run by test_module.py."""

import sys
from pathlib import Path

import lightning.pytorch as pl
import torch

from train.data import PackData
from train.module import Schedule, SynergyModule

model, pack, out, devices = sys.argv[1:]
torch.manual_seed(0)
module = SynergyModule(model, width=0.25, schedule=Schedule(rate=1e-3, sizes={0.0: 32}))
trainer = pl.Trainer(
    accelerator="cpu",
    devices=int(devices),
    strategy="ddp",
    max_steps=4,
    max_epochs=-1,
    limit_val_batches=0,
    num_sanity_val_steps=0,
    logger=False,
    enable_checkpointing=False,
    enable_progress_bar=False,
    enable_model_summary=False,
    use_distributed_sampler=False,
)
trainer.fit(module, PackData(Path(pack), model, batch_size=16 // int(devices)))
if trainer.is_global_zero:
    torch.save({"steps": trainer.global_step, "state": module.state_dict()}, Path(out) / f"{devices}.pt")
