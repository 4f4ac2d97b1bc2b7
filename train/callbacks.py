"""Lightning callbacks: averaged weights, checkpoints, throughput and the progress bar."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback, Checkpoint, RichProgressBar, WeightAveraging
from torch import Tensor
from typing_extensions import override

from train.face_module import FaceModule, last_checkpoint
from train.loggers import log_weights


class EMA(WeightAveraging):
    """Exponential moving average of weights and BatchNorm statistics.

    Validation uses the average, and it is the `state_dict` of checkpoints. A resumed run takes the weights that are
    being trained from `current_model_state`.

    Args:
        decay: decay per step. In step n it is at most (1 + n) / (10 + n), so that the average of the first steps is not
            dominated by the initial weights.
    """

    def __init__(self, decay: float = 0.999) -> None:
        def average(means: list[Tensor], currents: list[Tensor], n: Tensor | int) -> None:
            if means[0].is_floating_point():
                torch._foreach_lerp_(means, currents, 1 - min(decay, (1 + int(n)) / (10 + int(n))))
            else:
                torch._foreach_copy_(means, currents)

        super().__init__(multi_avg_fn=average)

    @override
    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Move the average to the device of the model. Lightning makes it before it moves the model."""
        super().on_train_start(trainer, pl_module)
        assert self._average_model is not None
        self._average_model.to(pl_module.device)

    @override
    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Leave the weights that are being trained in the model.

        Lightning would replace them by the average before the last checkpoint is written. A run that has stopped at a
        time limit could then not continue with its own weights.
        """


class Checkpoints(Checkpoint):
    """Write `checkpoints/last.ckpt` in the folder of the run at regular times and at the end.

    The file is written under another name and then renamed, so that a run that is killed at any moment leaves a
    complete checkpoint. Lightning's ModelCheckpoint overwrites the file in place. The last checkpoint is also sent to
    wandb.

    Args:
        minutes: time between two checkpoints.
    """

    def __init__(self, minutes: float = 5.0) -> None:
        self.minutes, self._saved = minutes, time.monotonic()

    @override
    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._saved = time.monotonic()

    @override
    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.strategy.broadcast(time.monotonic() - self._saved >= 60 * self.minutes):
            self._save(trainer)

    @override
    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        path = self._save(trainer)
        if trainer.is_global_zero:
            log_weights(trainer, path)

    def _save(self, trainer: pl.Trainer) -> Path:
        path = last_checkpoint(trainer.default_root_dir)
        part = path.with_suffix(".part")
        trainer.save_checkpoint(part)
        if trainer.is_global_zero:
            part.replace(path)
        self._saved = time.monotonic()
        return path


class TimeLimit(Callback):
    """Stop training after a time. The run can be resumed from its checkpoint.

    Unlike Trainer's `max_time`, the limit is no part of the learning rate's schedule.

    Args:
        seconds: the time.
        begun: value of `time.monotonic()` from which it counts.

    Attributes:
        is_reached: whether the limit has stopped the run.
    """

    def __init__(self, seconds: float, begun: float) -> None:
        self.end, self.is_reached = begun + seconds, False

    @override
    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.strategy.broadcast(time.monotonic() >= self.end):
            self.is_reached = trainer.should_stop = True


class Throughput(Callback):
    """Log `images_per_second` and `waiting`, the fraction of the time that was spent waiting for data.

    Both are means since the last log. Validation is not counted. Lightning's ThroughputMonitor does not measure the
    time spent waiting for data.
    """

    def __init__(self) -> None:
        self._ended = self._started = 0.0
        self._waited = self._total = 0.0
        self._images = 0

    @override
    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._ended = 0.0

    @override
    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self._started = time.perf_counter()

    @override
    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        now = time.perf_counter()
        if self._ended:
            self._waited += self._started - self._ended
            self._total += now - self._ended
            self._images += len(batch) * trainer.world_size
        self._ended = now
        if self._total and trainer.global_step % trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]
            pl_module.log_dict({"images_per_second": self._images / self._total, "waiting": self._waited / self._total})
            self._waited = self._total = 0.0
            self._images = 0

    @override
    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._ended = 0.0


class RunProgressBar(RichProgressBar):
    """Lightning's progress bar of the epoch, with the progress of the whole run next to the loss.

    A run is limited by steps or by time. The number of epochs, which Lightning would show, is unknown.
    """

    @override
    def get_metrics(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> dict[str, int | str | float | Any]:
        metrics = super().get_metrics(trainer, pl_module)
        if isinstance(pl_module, FaceModule):
            metrics["run"] = f"{pl_module.progress():.0%}"
        return metrics

    @override
    def _get_train_description(self, current_epoch: int) -> str:
        return f"Epoch {current_epoch}".ljust(len(self.validation_description))
