"""Lightning callbacks: averaged weights, throughput."""

# ruff: noqa: ARG002

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback, Checkpoint, WeightAveraging
from torch import Tensor

from train.loggers import log_weights


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


class Checkpoints(Checkpoint):
    """`checkpoints/last.ckpt` in the run's folder, every so many minutes and at the end, when wandb gets it too.

    Written beside it and renamed, so that a run killed at any moment leaves a whole one; Lightning's ModelCheckpoint
    does not, and its last one is up to an interval older than the end.
    """

    def __init__(self, minutes: float = 5.0) -> None:
        self.minutes, self._saved = minutes, time.monotonic()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._saved = time.monotonic()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.strategy.broadcast(time.monotonic() - self._saved >= 60 * self.minutes):
            self._save(trainer)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        path = self._save(trainer)
        if trainer.is_global_zero:
            log_weights(trainer, path)

    def _save(self, trainer: pl.Trainer) -> Path:
        path = Path(trainer.default_root_dir) / "checkpoints" / "last.ckpt"
        part = path.with_suffix(".part")
        trainer.save_checkpoint(part)
        if trainer.is_global_zero:
            part.replace(path)
        self._saved = time.monotonic()
        return path


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
