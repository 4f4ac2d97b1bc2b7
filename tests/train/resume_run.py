"""Twelve steps in 4-step epochs, a checkpoint every 0.6 s: MODEL PACK OUT RESUME PAUSE [jvcr]."""

import sys
import time
from pathlib import Path

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import CSVLogger

from train.callbacks import EMA, Checkpoints
from train.data import PackData
from train.face_module import FaceModule, Schedule
from train.jvcr_module import JVCRModule
from train.module import SynergyModule


class Pause(Callback):
    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def on_train_batch_end(self, *arguments: object) -> None:
        time.sleep(self.seconds)


model, pack, out, resume, pause, *family = sys.argv[1:]
name = "resumed" if resume else "first"
torch.set_num_threads(1)
torch.manual_seed(0)
module: FaceModule
if family:
    module = JVCRModule("tiny", model=model)
else:
    module = SynergyModule(model, width=0.25, schedule=Schedule(sizes={0.0: 32}))
trainer = pl.Trainer(
    accelerator="cpu",
    devices=1,
    max_epochs=-1,
    max_steps=12,
    default_root_dir=out,
    callbacks=[EMA(0.9), Checkpoints(0.01), Pause(float(pause))],
    num_sanity_val_steps=0,
    logger=CSVLogger(out, name="", version=name, flush_logs_every_n_steps=1),
    log_every_n_steps=1,
    enable_progress_bar=False,
    enable_model_summary=False,
    use_distributed_sampler=False,
    gradient_clip_val=1.0,
)
trainer.fit(module, PackData(Path(pack), model, batch_size=16), ckpt_path=resume or None)
torch.save(module.state_dict(), Path(out) / f"final-{name}.pt")
