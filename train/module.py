"""SynergyNet's training step, validation and schedule as a LightningModule."""

from __future__ import annotations

import math
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Timer
from torch import Tensor
from torch.nn.functional import interpolate

from bfm_assets import read_model
from synergy.camera import preferred_projection
from synergy.checkpoints import read_checkpoint
from synergy.errors import UserError
from synergy.geometry import decompose_pose
from synergy.models import SynergyNet, SynergyOutput
from synergy.parameters import join_parameters, split_pose
from train.augment import Augment, AugmentConfig
from train.batch import Batch
from train.losses import parameter_importance, rms, vdc, wing, wpdc
from train.mixed import keep_strided_depthwise_in_float32
from train.validation import FaceScores, has_crop_box
from train.warm_start import fit_heads, transplant


@dataclass(frozen=True)
class LossWeights:
    """Weights of the loss terms; SynergyNet's are 0.05, 0.05, 0.02, 0.02, 0.02, 0.001 (docs/training.md).

    Attributes:
        coarse, refined: Wing loss of the landmarks before and after MAFA.
        pose, coefficients: root mean square error of the whitened pose, of shape and expression.
        from_landmarks: the same of the landmark-to-3DMM network's parameters against the truth.
        self_constraint: of its parameters against the image's.
        vdc, wpdc: 3DDFA's vertex and weighted parameter distance costs (train/losses.py).

    A term of weight 0 is not computed.
    """

    coarse: float = 0.05
    refined: float = 0.05
    pose: float = 0.5
    coefficients: float = 0.1
    from_landmarks: float = 0.02
    self_constraint: float = 0.001
    vdc: float = 0.0
    wpdc: float = 0.0


@dataclass(frozen=True)
class Schedule:
    """AdamW with a linear warm-up and a cosine to zero over the run's progress.

    Progress is the share of `max_steps`, or of `max_time` where that is further, so a run on a shared machine ends
    with its rate at zero whatever its speed. Attributes:

        rate: peak learning rate.
        weight_decay: of weights with more than one dimension.
        warm_up: share of the run.
        sizes: the input's side in pixels, from the share of the run where each begins: {0: 80, 0.5: 120}.
    """

    rate: float = 2e-3
    weight_decay: float = 0.02
    warm_up: float = 0.03
    sizes: dict[float, int] | None = None


class SynergyModule(pl.LightningModule):
    """Trains a `SynergyNet` on batches whose labels refer to its crop side.

    Args:
        model: "open_face", or the path of a morphable model in any format of `bfm_assets` (docs/morphable-models.md).
        backbone, width: of the network.
        losses, schedule, augment: see there.
        start: checkpoint of another run to start from, possibly with another morphable model (train/warm_start.py). It
            is read at once, so that a wrong file is reported before the data are loaded.
        seed: with the step's number it decides every random draw of that step.
        mixed: run backbone, MAFA and landmark-to-3DMM in bf16. Heads, projection and losses stay in float32.
        channels_last: memory format of the convolutions.
    """

    def __init__(
        self,
        model: str = "open_face",
        backbone: str = "mobilenet_v1",
        width: float = 1.0,
        losses: LossWeights = LossWeights(),
        schedule: Schedule = Schedule(),
        augment: AugmentConfig | None = None,
        start: str = "",
        seed: int = 0,
        mixed: bool = False,
        channels_last: bool = True,
    ) -> None:
        super().__init__()
        self.start_state = net_state(read_checkpoint(start), start) if start else None
        self.save_hyperparameters(ignore=["losses", "schedule", "augment"])
        morphable_model = read_model(model)
        self.net = SynergyNet(morphable_model, backbone, width)
        self.net.projection = preferred_projection()
        if channels_last:
            self.net.backbone.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if mixed:
            keep_strided_depthwise_in_float32(self.net.backbone)
        self.channels_last, self.mixed, self.seed = channels_last, mixed, seed
        self.losses, self.schedule = losses, schedule
        self.augment = Augment(morphable_model, self.net.size, augment)
        self.scores: dict[str, FaceScores] = {}
        self.skipped = 0
        self.git = git_revision()

    def forward(self, images: Tensor) -> SynergyOutput:
        """Run `SynergyNet.forward`, under autocast to bf16 where `mixed`."""
        with self._precision():
            output: SynergyOutput = self.net(self._laid_out(images))
        return output

    def features(self, images: Tensor) -> Tensor:
        """Return the backbone's features (B, F) of images (B, 3, H, W) in 0..255, in the precision of `forward`."""
        with self._precision():
            return self.net.features(self._laid_out(images))

    def _precision(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.mixed)

    def _laid_out(self, images: Tensor) -> Tensor:
        """Return the images in the memory format of the convolutions."""
        return images.to(memory_format=torch.channels_last) if self.channels_last else images

    def progress(self) -> float:
        """The share of the run that is over, in 0..1."""
        trainer = self.trainer
        share = trainer.global_step / trainer.max_steps if trainer.max_steps > 0 else 0.0
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, Timer) and callback._duration:
                share = max(share, callback.time_elapsed() / callback._duration)
        return min(1.0, share)

    def rate_factor(self, progress: float) -> float:
        """The learning rate at a point of the run as a share of its peak."""
        warm_up = self.schedule.warm_up
        if progress < warm_up:
            return progress / warm_up
        return 0.5 + 0.5 * math.cos(math.pi * (progress - warm_up) / (1 - warm_up))

    def input_size(self, progress: float) -> int:
        """The side in pixels of the images that the network is shown at a point of the run."""
        sizes = self.schedule.sizes or {}
        begun = [start for start in sizes if start <= progress]
        return sizes[max(begun)] if begun else self.net.size

    def configure_optimizers(self) -> torch.optim.Optimizer:
        weights = [p for p in self.net.parameters() if p.dim() > 1]
        others = [p for p in self.net.parameters() if p.dim() <= 1]
        groups: list[dict[str, Any]] = [
            {"params": weights, "weight_decay": self.schedule.weight_decay},
            {"params": others},
        ]
        return torch.optim.AdamW(groups, lr=self.schedule.rate, weight_decay=0.0)

    @torch.no_grad()
    def on_fit_start(self) -> None:
        """Take the whitening from augmented labels and the start from another run, unless a checkpoint brought both."""
        if (self.net.param_std != 1).any():
            return
        torch.manual_seed(self.seed)
        data = self.trainer.datamodule.train_set  # type: ignore[attr-defined]
        rows = torch.randperm(len(data))[:8192].tolist()
        chunks = [rows[i : i + 256] for i in range(0, len(rows), 256)]
        params = torch.cat([self.augment(data.__getitems__(chunk), 8).params for chunk in chunks])
        params = params[params.isfinite().all(-1)]
        self.net.set_whitening(params.mean(0), params.std(0).clamp_min(1e-6))
        if self.start_state is not None:
            transplant(self.net, self.start_state)
            self.net.eval()
            batches = [self.augment(data.__getitems__(chunk)).to(self.device) for chunk in chunks]
            features = torch.cat([self.features(batch.image) for batch in batches])
            fit_heads(self.net, features, torch.cat([batch.params for batch in batches]))
            self.net.train()

    def training_step(self, batch: Batch) -> Tensor:
        step = self.trainer.global_step
        torch.manual_seed((self.seed * 1_000_003 + step) * 4096 + self.global_rank)
        progress = self.progress()
        for group in self.optimizers().param_groups:  # type: ignore[union-attr]
            group["lr"] = self.schedule.rate * self.rate_factor(progress)
        with torch.no_grad():
            batch = self.augment(batch, self.input_size(progress))
        terms = self.loss_terms(batch, self(batch.image))
        loss = torch.stack([getattr(self.losses, name) * value for name, value in terms.items()]).sum()
        self.log_dict({f"loss/{name}": value for name, value in terms.items()})
        self.log("loss", loss, prog_bar=True)
        self.log("rate", self.schedule.rate * self.rate_factor(progress))
        return loss

    def loss_terms(self, batch: Batch, output: SynergyOutput) -> dict[str, Tensor]:
        """Every term of the loss with a weight, unweighted, by its name in `LossWeights`."""
        net, weight = self.net, batch.weight
        target = net.whitening.whiten(batch.params)
        (pose, coefficients), (true_pose, true_coefficients) = split_pose(output.whitened), split_pose(target)

        @cache
        def from_landmarks() -> Tensor:
            with torch.autocast(batch.image.device.type, torch.bfloat16, enabled=self.mixed):
                params: Tensor = net.landmark_to_3dmm(output.landmarks)
            return params.float()

        terms = {
            "coarse": lambda: wing(output.coarse, batch.landmarks, weight),
            "refined": lambda: wing(output.landmarks, batch.landmarks, weight),
            "pose": lambda: rms(pose, true_pose, weight),
            "coefficients": lambda: rms(coefficients, true_coefficients, weight),
            "from_landmarks": lambda: rms(from_landmarks(), target, weight),
            "self_constraint": lambda: rms(from_landmarks(), output.whitened, weight),
            "vdc": lambda: vdc(output.coarse, batch.landmarks, weight),
            "wpdc": lambda: wpdc(
                output.whitened, target, parameter_importance(output.whitened, target, self.jacobian(batch)), weight
            ),
        }
        return {name: term() for name, term in terms.items() if getattr(self.losses, name)}

    def jacobian(self, batch: Batch) -> Tensor:
        """Return how far (B, P), in pixels, all landmarks together move with one unit of each whitened parameter."""
        net, face = self.net, self.net.face_model
        pose = torch.cat([face.mean, torch.ones_like(face.mean[:, :1])], -1).norm(dim=0).repeat(3)
        scale = decompose_pose(split_pose(batch.params)[0].nan_to_num(1.0))[0]
        coefficients = scale[:, None] * face.basis.norm(dim=(0, 1))
        return join_parameters(pose.expand(len(batch), -1), coefficients) * net.param_std

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Log the gradient's norm; where it is not finite, drop the gradients, so that the step changes nothing."""
        norm = torch.nn.utils.get_total_norm([p.grad for p in self.net.parameters() if p.grad is not None])
        if norm.isfinite():
            self.log("gradient_norm", norm)
        else:
            self.skipped += 1
            optimizer.zero_grad(set_to_none=True)
        self.log("skipped", float(self.skipped))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["skipped"] = self.skipped
        checkpoint["git"] = self.git

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.skipped = checkpoint.get("skipped", 0)

    def on_validation_epoch_start(self) -> None:
        names = self.trainer.datamodule.validation_sets  # type: ignore[attr-defined]
        self.scores = {name: FaceScores(has_crop_box(name)) for name in names}

    def validation_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> dict[str, Tensor]:  # noqa: ARG002
        """Score the network in float32, at the image size that training has reached."""
        name = list(self.scores)[dataloader_idx]
        size, image = self.input_size(self.progress()), batch.image.float()
        if size != self.net.size:
            image = interpolate(image, size=(size, size), mode="bilinear")
        output: SynergyOutput = self.net(image)
        self.scores[name].update(batch, output)
        return output._asdict()

    def on_validation_epoch_end(self) -> None:
        for name, score in self.scores.items():
            self.log_dict({f"{name}/{key}": value for key, value in score.compute().items()})


def net_state(checkpoint: Mapping[str, Any], source: str | Path) -> dict[str, Tensor]:
    """Return the (averaged) weights of the `SynergyNet` in a checkpoint of this module.

    Args:
        checkpoint: content of the file.
        source: path of the file, for the error.

    Raises:
        UserError: the checkpoint is of something else.
    """
    prefix, state = "net.", checkpoint.get("state_dict", {})
    found = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    if not found:
        raise UserError(f"{source}: not a checkpoint of `synergy train`, it has no weights named '{prefix}...'")
    return found


def git_revision() -> str:
    """The commit of this code, empty where there is no git."""
    try:
        command = ["git", "rev-parse", "HEAD"]
        found = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parent)
    except OSError:
        return ""
    return found.stdout.strip()
