"""What the training of all networks shares: schedule, optimiser, steps, validation and checkpoints."""

from __future__ import annotations

import math
import subprocess
from abc import abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Timer
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.nn.functional import interpolate
from torch.optim.lr_scheduler import LambdaLR
from typing_extensions import override

from synergy.errors import UserError
from synergy.models import SynergyNet, SynergyOutput
from synergy.models.landmark_net import LandmarkNet
from train.batch import Batch
from train.validation import FaceScores
from train.warm_start import require_same_model


@dataclass(frozen=True)
class Schedule:
    """Learning rate, weight decay and image size over the progress of the run (`FaceModule.progress`).

    The learning rate rises linearly to its peak and then follows a cosine to zero, or falls in steps.

    Attributes:
        rate: peak learning rate.
        weight_decay: weight decay of parameters with more than one dimension; the others have none.
        warm_up: fraction of the run with a rising learning rate.
        sizes: side of the network's input in pixels by the fraction of the run at which it begins, for example
            {0: 80, 0.5: 120}. By default the side of the crop throughout. Only `SynergyModule` can change it.
        drops: fractions of the run at which the rate falls to a tenth, instead of the cosine.
    """

    rate: float = 2e-3
    weight_decay: float = 0.02
    warm_up: float = 0.03
    sizes: dict[float, int] | None = None
    drops: list[float] | None = None


DEFAULT_SCHEDULE = Schedule()


class FaceModule(pl.LightningModule):
    """What the training of all networks shares: schedule, optimiser, steps, validation and checkpoints.

    A subclass implements `forward`, `augmented`, `loss_terms`, `loss_weight` and `validated`.

    Args:
        schedule: learning rate over the run.
        seed: decides every random number of a step, together with the number of the step.
        mixed: run the network's convolutions in bf16.
        channels_last: memory format of the convolutions.

    Attributes:
        net: the network. The subclass sets it.
        skipped: number of steps so far whose gradient was not finite.
    """

    net: SynergyNet | LandmarkNet

    def __init__(self, schedule: Schedule, seed: int, mixed: bool, channels_last: bool) -> None:
        super().__init__()
        self.schedule, self.seed, self.mixed, self.channels_last = schedule, seed, mixed, channels_last
        self.scores: dict[str, FaceScores] = {}
        self.skipped = 0
        self._shared_time = 0.0
        self.git = git_revision()

    @abstractmethod
    def augmented(self, batch: Batch) -> Batch:
        """Return an augmented batch, whose images are the network's input."""

    @abstractmethod
    def loss_terms(self, batch: Batch, output: Any) -> dict[str, Tensor]:
        """Return the terms of the loss by name, without their weights, for the output of `forward`."""

    @abstractmethod
    def loss_weight(self, name: str) -> float:
        """Return the weight of a term of the loss."""

    @abstractmethod
    def validated(self, batch: Batch) -> SynergyOutput:
        """Return the prediction for a batch as it is stored, in pixels of the stored crops."""

    def _precision(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.mixed)

    def _laid_out(self, images: Tensor) -> Tensor:
        """Return the images in the memory format of the convolutions."""
        return images.to(memory_format=torch.channels_last) if self.channels_last else images

    def progress(self) -> float:
        """Return the fraction of the run that is over, 0..1.

        It is the fraction of `max_steps` or of `max_time`, whichever is larger. A run that is limited by time therefore
        ends with a learning rate of zero, however fast the machine is.
        """
        trainer = self.trainer
        steps = trainer.global_step / trainer.max_steps if trainer.max_steps > 0 else 0.0
        is_shared = trainer.training and trainer.world_size > 1
        time = self._shared_time if is_shared else self._elapsed_time()
        return min(1.0, max(steps, time or 0.0))

    def _elapsed_time(self) -> float | None:
        """Return the fraction of `max_time` that is over, by the clock of this process; None without `max_time`."""
        timers = [callback for callback in self.trainer.callbacks if isinstance(callback, Timer)]  # type: ignore[attr-defined]
        fractions = [timer.time_elapsed() / timer._duration for timer in timers if timer._duration]
        return max(fractions, default=None)

    @override
    def on_fit_start(self) -> None:
        """Check that the run has a limit.

        Raises:
            UserError: neither steps nor a time limit it. Its learning rate would stay at zero.
        """
        if self.trainer.max_steps < 0 and self._elapsed_time() is None:
            raise UserError(
                "the learning rate follows the limit of the run; give --trainer.max_steps or --trainer.max_time"
            )

    @override
    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Take the time of the first process in all processes, so that they have the same learning rate."""
        if self.trainer.world_size > 1 and (time := self._elapsed_time()) is not None:
            self._shared_time = self.trainer.strategy.broadcast(time)

    def rate_factor(self, progress: float) -> float:
        """Return the learning rate relative to its peak, 0..1, when the fraction `progress` of the run is over."""
        warm_up = self.schedule.warm_up
        if progress < warm_up:
            return progress / warm_up
        if self.schedule.drops:
            return float(0.1 ** sum(drop <= progress for drop in self.schedule.drops))
        return 0.5 + 0.5 * math.cos(math.pi * (progress - warm_up) / (1 - warm_up))

    @override
    def configure_optimizers(self) -> OptimizerLRScheduler:
        trained = [p for p in self.net.parameters() if p.requires_grad]
        weights = [p for p in trained if p.dim() > 1]
        others = [p for p in trained if p.dim() <= 1]
        groups: list[dict[str, Any]] = [
            {"params": weights, "weight_decay": self.schedule.weight_decay},
            {"params": others},
        ]
        # The base rate is 1 and the schedule has the peak rate. A resumed run then follows its own schedule, because
        # LambdaLR stores the base rate in checkpoints but not the schedule.
        optimizer = torch.optim.AdamW(groups, lr=1.0, weight_decay=0.0)
        scheduler = LambdaLR(optimizer, lambda _step: self.schedule.rate * self.rate_factor(self.progress()))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def training_terms(self, batch: Batch) -> dict[str, Tensor]:
        """Return the terms of the loss for stored crops, which are augmented first."""
        with torch.no_grad():
            batch = self.augmented(batch)
        return self.loss_terms(batch, self(batch.image))

    @override
    def training_step(self, batch: Batch) -> Tensor:
        torch.manual_seed((self.seed * 1_000_003 + self.trainer.global_step) * 4096 + self.global_rank)
        terms = self.training_terms(batch)
        loss = torch.stack([self.loss_weight(name) * value for name, value in terms.items()]).sum()
        self.log_dict({f"loss/{name}": value for name, value in terms.items()})
        self.log("loss", loss, prog_bar=True)
        self.log("rate", self.optimizers().param_groups[0]["lr"])  # type: ignore[union-attr]
        return loss

    @override
    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Log the norm of the gradient. If it is not finite, remove the gradients, so that the weights do not change.

        Raises:
            UserError: the statistics of BatchNorm are not finite any more.
        """
        norm = torch.nn.utils.get_total_norm([p.grad for p in self.net.parameters() if p.grad is not None])
        if norm.isfinite():
            self.log("gradient_norm", norm)
        else:
            self.skipped += 1
            optimizer.zero_grad(set_to_none=True)
            if not all(buffer.isfinite().all() for buffer in self.net.buffers()):
                raise UserError("the network's values are not finite any more; continue from an earlier checkpoint")
        self.log("skipped", float(self.skipped))

    @override
    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["skipped"] = self.skipped
        checkpoint["git"] = self.git
        checkpoint["architecture"] = self.net.architecture
        checkpoint["morphable_model"] = self.net.morphable_model.digest

    @override
    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take the count of skipped steps.

        Raises:
            UserError: the checkpoint is of a network with another morphable model.
        """
        require_same_model("--ckpt_path", checkpoint.get("morphable_model", ""), self.net.morphable_model)
        self.skipped = checkpoint.get("skipped", 0)

    @override
    def on_validation_epoch_start(self) -> None:
        names = self.trainer.datamodule.validation_sets  # type: ignore[attr-defined]
        self.scores = {name: FaceScores().to(self.device) for name in names}

    @override
    def validation_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> dict[str, Tensor]:
        """Score the network in float32 on one batch, and return its prediction for callbacks."""
        output = self.validated(batch)
        self.score(list(self.scores)[dataloader_idx], batch, output)
        return {key: value for key, value in output._asdict().items() if value is not None}

    def score(self, name: str, batch: Batch, output: SynergyOutput) -> None:
        """Add the prediction for a batch to the scores of the validation set with this name."""
        self.scores[name].update(batch, output)

    @override
    def on_validation_epoch_end(self) -> None:
        for name, score in self.scores.items():
            # Every process has scored all faces (`FaceDataModule`), so the mean over the processes changes nothing.
            self.log_dict({f"{name}/{key}": value for key, value in score.compute().items()}, sync_dist=True)


def resize(images: Tensor, size: int) -> Tensor:
    """Return images (B, 3, H, W) with sides of `size` pixels."""
    return images if images.shape[-1] == size else interpolate(images, size=(size, size), mode="bilinear")


def last_checkpoint(folder: str | Path) -> Path:
    """Return the file of the last checkpoint (`train.callbacks.Checkpoints`) in the folder of a run."""
    return Path(folder) / "checkpoints" / "last.ckpt"


def git_revision() -> str:
    """Return the commit of this code; empty if it is not in a git repository."""
    try:
        command = ["git", "rev-parse", "HEAD"]
        found = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parent)
    except OSError:
        return ""
    return found.stdout.strip()
