"""Train three steps of 16 samples in the processes of torchrun: MODEL PACK OUT. For test_module.py.

Augmentation and BatchNorm's statistics are each process's own. Without them, the number of processes decides nothing.
"""

import json
import os
import sys
from dataclasses import fields
from pathlib import Path

import lightning.pytorch as pl
import torch
from torch.nn.modules.batchnorm import _BatchNorm

from train.augment import transform_batch
from train.data import PackData
from train.face_module import Schedule
from train.module import LossWeights, SynergyModule


class Plain(SynergyModule):
    """Training without augmentation, on the running statistics of BatchNorm. Keeps the loss of every step."""

    def augmented(self, batch):
        same = torch.eye(2, 3).expand(len(batch), 2, 3)
        mirrored = torch.zeros(len(batch), dtype=torch.bool)
        return transform_batch(batch, same, mirrored, self.augment.mirror, 120, self.input_size(self.progress()))

    def on_train_batch_start(self, batch, batch_idx):
        for layer in self.net.modules():
            if isinstance(layer, _BatchNorm):
                layer.eval()

    def on_train_batch_end(self, outputs, batch, batch_idx):
        losses.append(self.all_gather(outputs["loss"].detach()).mean().item())


model, pack, out = sys.argv[1:]
losses = []
world = int(os.environ["WORLD_SIZE"])
torch.manual_seed(0)
# The other terms are roots of means, and no means over the samples.
weights = {field.name: float(field.name in ("coarse", "refined", "vdc")) for field in fields(LossWeights)}
schedule = Schedule(rate=1e-3, sizes={0.0: 32})
module = Plain(model, width=0.25, schedule=schedule, losses=LossWeights(**weights))
trainer = pl.Trainer(
    accelerator="cpu",
    devices=world,
    strategy="ddp_find_unused_parameters_true",  # the heads of terms that are left out
    max_steps=3,
    max_epochs=-1,
    limit_val_batches=0,
    logger=False,
    enable_checkpointing=False,
    enable_progress_bar=False,
    enable_model_summary=False,
    use_distributed_sampler=False,
)
trainer.fit(module, PackData(Path(pack), model, batch_size=16 // world))
if trainer.is_global_zero:
    backend = torch.distributed.get_backend()
    Path(out).write_text(json.dumps({"losses": losses, "world": trainer.world_size, "backend": backend}))
