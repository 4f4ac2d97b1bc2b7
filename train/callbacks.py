"""Lightning callbacks: averaged weights, throughput."""

# ruff: noqa: ARG002

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback, ModelCheckpoint, WeightAveraging
from torch import Tensor


class EMA(WeightAveraging):
    """Exponential moving average of weights and BatchNorm statistics, used in validation and in checkpoints.

    The decay grows to `decay` as (1 + n) / (10 + n) over the first n steps, so that early validations mean something.
    A checkpoint's `state_dict` is the average; resuming takes the raw weights from `current_model_state`.
    """

    def __init__(self, decay: float = 0.999) -> None:
        def average(mean: Tensor, current: Tensor, n: Tensor | int) -> Tensor:
            if not mean.is_floating_point():
                return current
            return mean.lerp(current, 1 - min(decay, (1 + int(n)) / (10 + int(n))))

        super().__init__(avg_fn=average)


class Checkpoints(ModelCheckpoint):
    """`last.ckpt` every so many minutes and, whatever the clock says, at the end of training."""

    def __init__(self, minutes: float = 5.0) -> None:
        super().__init__(
            save_last=True, train_time_interval=timedelta(minutes=minutes), save_top_k=1, enable_version_counter=False
        )

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._last_checkpoint_saved = ""
        super().on_train_end(trainer, pl_module)


class Throughput(Callback):
    """Logs `images_per_second` over the whole step and `waiting`, the share of it spent fetching data."""

    def __init__(self) -> None:
        self._ended = self._started = 0.0
        self._fetch = self._total = 0.0
        self._images = 0

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._ended = 0.0

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, index: int) -> None:
        self._started = time.perf_counter()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        now = time.perf_counter()
        if self._ended:
            self._fetch += self._started - self._ended
            self._total += now - self._ended
            self._images += len(batch) * trainer.world_size
        self._ended = now
        if self._total and trainer.global_step % trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]
            pl_module.log_dict({"images_per_second": self._images / self._total, "waiting": self._fetch / self._total})
            self._fetch = self._total = 0.0
            self._images = 0

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._ended = 0.0
