"""Validate, then train four steps of 16 samples on 1 or 2 CPU processes: MODEL PACK OUT DEVICES. For test_module.py."""

import sys
import warnings
from pathlib import Path

import lightning.pytorch as pl
import torch

from train.data import PackData
from train.face_module import Schedule
from train.module import SynergyModule

model, pack, out, devices = sys.argv[1:]
torch.manual_seed(0)
module = SynergyModule(model, width=0.25, schedule=Schedule(rate=1e-3, sizes={0.0: 32}))
trainer = pl.Trainer(
    accelerator="cpu",
    devices=int(devices),
    strategy="ddp",
    max_steps=4,
    max_epochs=-1,
    limit_val_batches=1.0,
    check_val_every_n_epoch=None,
    val_check_interval=100,
    num_sanity_val_steps=0,
    logger=False,
    enable_checkpointing=False,
    enable_progress_bar=False,
    enable_model_summary=False,
    use_distributed_sampler=False,
)
data = PackData(Path(pack), model, batch_size=16 // int(devices))
warnings.filterwarnings("error", message=".*sync_dist")
(figures,) = trainer.validate(module, data, verbose=False)
trainer.fit(module, data)
content = {"steps": trainer.global_step, "state": {k: v.clone() for k, v in module.state_dict().items()}}
with torch.no_grad():
    next(module.net.parameters()).fill_(torch.nan)
(broken,) = trainer.validate(module, data, verbose=False)
if trainer.is_global_zero:
    torch.save(content | {"figures": figures, "broken": broken}, Path(out) / f"{devices}.pt")
