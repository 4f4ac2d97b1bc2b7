"""Training and validation as LightningModules: what all networks share, and SynergyNet."""

from __future__ import annotations

import math
import subprocess
from abc import abstractmethod
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Timer
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.nn.functional import interpolate
from torch.optim.lr_scheduler import LambdaLR
from typing_extensions import override

from bfm_assets import read_model
from synergy.camera import preferred_projection
from synergy.errors import UserError
from synergy.geometry import decompose_pose
from synergy.models import SynergyNet, SynergyOutput
from synergy.models.landmark_net import LandmarkNet
from synergy.parameters import join_parameters, split_pose
from synergy.registry import open_network
from train.augment import Augment, AugmentConfig
from train.batch import Batch
from train.losses import parameter_importance, rms, vdc, wing, wpdc
from train.mixed import keep_strided_depthwise_in_float32
from train.negatives import make_negatives
from train.packs.pack import CROP_SIZE
from train.prune import reestimate_batch_norm
from train.uncertainty import UncertaintyScores, face_loss, landmark_nll, rotation_nll
from train.validation import FaceScores
from train.warm_start import TrainedNetwork, fit_heads, transplant


@dataclass(frozen=True)
class LossWeights:
    """Weights of the terms of the loss. A term of weight 0 is not computed. docs/training.md has SynergyNet's weights.

    Attributes:
        coarse: Wing loss of the landmarks before MAFA.
        refined: Wing loss of the landmarks after MAFA.
        pose: root mean square error of the whitened pose.
        coefficients: root mean square error of the whitened shape and expression coefficients.
        from_landmarks: root mean square error of the parameters that the landmark-to-3DMM network predicts.
        self_constraint: root mean square difference between these parameters and those that the image gives.
        vdc: 3DDFA's vertex distance cost (`train.losses.vdc`).
        wpdc: 3DDFA's weighted parameter distance cost (`train.losses.wpdc`).
        distillation: Wing loss of the landmarks, before and after MAFA, towards those of the teacher. It is left out
            without a teacher.
    """

    coarse: float = 0.05
    refined: float = 0.05
    pose: float = 0.5
    coefficients: float = 0.1
    from_landmarks: float = 0.02
    self_constraint: float = 0.001
    vdc: float = 0.0
    wpdc: float = 0.0
    distillation: float = 0.05


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
        fraction = trainer.global_step / trainer.max_steps if trainer.max_steps > 0 else 0.0
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, Timer) and callback._duration:
                fraction = max(fraction, callback.time_elapsed() / callback._duration)
        return min(1.0, fraction)

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
        """Log the norm of the gradient. If it is not finite, remove the gradients, so that the step changes nothing."""
        norm = torch.nn.utils.get_total_norm([p.grad for p in self.net.parameters() if p.grad is not None])
        if norm.isfinite():
            self.log("gradient_norm", norm)
        else:
            self.skipped += 1
            optimizer.zero_grad(set_to_none=True)
        self.log("skipped", float(self.skipped))

    @override
    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["skipped"] = self.skipped
        checkpoint["git"] = self.git
        checkpoint["architecture"] = self.net.architecture

    @override
    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.skipped = checkpoint.get("skipped", 0)

    @override
    def on_validation_epoch_start(self) -> None:
        names = self.trainer.datamodule.validation_sets  # type: ignore[attr-defined]
        self.scores = {name: FaceScores(CROP_SIZE).to(self.device) for name in names}

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


def _open_teacher(weights: str, bfm: str | None) -> SynergyNet:
    """Open a network of this project in evaluation mode, without gradients."""
    teacher = open_network(weights, bfm)
    if not isinstance(teacher, SynergyNet):
        raise UserError(f"--model.teacher {weights}: only this project's own networks can be teachers")
    return teacher.requires_grad_(False).eval()


class SynergyModule(FaceModule):
    """Training and validation of a `SynergyNet`.

    Args:
        model: morphable model: "open_face", or a path in any format of `bfm_assets` (docs/morphable-models.md).
        backbone: a name of `synergy.models.backbone.build_backbone`.
        width: width multiplier of the backbone.
        mafa_width: width multiplier of MAFA.
        losses: weights of the terms of the loss.
        schedule: learning rate and image size over the run.
        augment: strengths and probabilities of the augmentation.
        start: checkpoint of another run, or weights file, to start from. A network of the same architecture and
            morphable model is copied as it is. Of others, also with a wider MobileNetV1, what fits is copied, and the
            heads are fitted to the features (`train.warm_start`). The file is read at once, so that a wrong one is
            reported before the data are loaded.
        teacher: weights of a network of this project whose landmarks for the augmented images are a second target
            (distillation), by name or file. The teacher may have another morphable model.
        teacher_bfm: Basel Face Model of the teacher, if it needs one.
        uncertainty: train the uncertainty heads of the network in `start` and nothing else (`train.uncertainty`). Its
            landmarks and parameters stay as they are. `backbone`, `width`, `mafa_width` and `losses` have no effect.
        seed: decides every random number of a step, together with the number of the step.
        mixed: run the backbone, MAFA and the landmark-to-3DMM network in bf16. Heads, projection and losses stay in
            float32.
        channels_last: memory format of the convolutions.

    Raises:
        UserError: `start` cannot be read or is neither a checkpoint of a training run nor a weights file;
            `uncertainty` without `start`, or with the `start` of another morphable model; or `teacher` cannot be read
            or is no network of this project.
    """

    net: SynergyNet

    def __init__(
        self,
        model: str = "open_face",
        backbone: str = "mobilenet_v1",
        width: float = 1.0,
        mafa_width: float = 1.0,
        losses: LossWeights = LossWeights(),
        schedule: Schedule = DEFAULT_SCHEDULE,
        augment: AugmentConfig | None = None,
        start: str = "",
        teacher: str = "",
        teacher_bfm: str | None = None,
        uncertainty: bool = False,
        seed: int = 0,
        mixed: bool = False,
        channels_last: bool = True,
    ) -> None:
        super().__init__(schedule, seed, mixed, channels_last)
        self.start = TrainedNetwork.read(start) if start else None
        # In a list, so that the teacher is no part of the module's parameters and checkpoints.
        self.teachers = [_open_teacher(teacher, teacher_bfm)] if teacher else []
        self.save_hyperparameters(ignore=["losses", "schedule", "augment"])
        morphable_model = read_model(model)
        if uncertainty:
            if self.start is None:
                raise UserError("--model.uncertainty trains heads of a trained network; give one with --model.start")
            self.net = self.start.with_uncertainty(morphable_model).requires_grad_(False).eval()
            assert self.net.uncertainty is not None
            self.net.uncertainty.requires_grad_(True)
        else:
            self.net = SynergyNet(morphable_model, backbone, width, mafa_width=mafa_width)
        self.net.projection = preferred_projection()
        if channels_last:
            self.net.backbone.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if mixed:
            keep_strided_depthwise_in_float32(self.net.backbone)
        self.uncertainty, self.losses = uncertainty, losses
        self.augment = Augment(morphable_model, self.net.size, augment)
        self.uncertainty_scores: dict[str, UncertaintyScores] = {}

    @override
    def train(self, mode: bool = True) -> SynergyModule:
        """Switch to training mode; only to evaluation mode while the network is frozen, for the sake of BatchNorm."""
        return super().train(mode and not self.uncertainty)

    @override
    def forward(self, images: Tensor) -> SynergyOutput:
        """Run `SynergyNet.forward`, in bf16 if `mixed`."""
        with self._precision():
            output: SynergyOutput = self.net(self._laid_out(images))
        return output

    def features(self, images: Tensor) -> Tensor:
        """Return the backbone's features (B, F) of images (B, 3, H, W) in 0..255, in the precision of `forward`."""
        with self._precision():
            return self.net.features(self._laid_out(images))

    def input_size(self, progress: float) -> int:
        """Return the side of the network's input in pixels when the fraction `progress` of the run is over."""
        sizes = self.schedule.sizes or {}
        begun = [start for start in sizes if start <= progress]
        return sizes[max(begun)] if begun else self.net.size

    @override
    @torch.no_grad()
    def on_fit_start(self) -> None:
        """Estimate the whitening from augmented labels and initialise from `start`, unless a checkpoint was loaded.

        Raises:
            UserError: no training sample has parameters.
        """
        for teacher in self.teachers:
            teacher.to(self.device)
        data = self.trainer.datamodule.train_set  # type: ignore[attr-defined]
        is_initialised = self.uncertainty or (self.net.param_std != 1).any()
        if not len(data) or is_initialised:  # StepSampler reports an empty training set
            return
        if self.start is not None and self.start.copy_to(self.net):
            return
        torch.manual_seed(self.seed)
        rows = torch.randperm(len(data))[:8192].tolist()
        chunks = [rows[i : i + 256] for i in range(0, len(rows), 256)]
        params = torch.cat([self.augment(data[chunk], 8).params for chunk in chunks])
        params = params[params.isfinite().all(-1)]
        if len(params) < 2:
            raise UserError("no training sample has 3DMM parameters; label the data with `synergy label build` first")
        self.net.set_whitening(params.mean(0), params.std(0).clamp_min(1e-6))
        if self.start is not None:
            pruned = transplant(self.net, self.start.state)
            batches = [self.augment(data[chunk]).to(self.device) for chunk in chunks]
            if pruned:
                reestimate_batch_norm(self.net.backbone, self.net.features, (batch.image for batch in batches))
            self.net.eval()
            features = torch.cat([self.features(batch.image) for batch in batches])
            params = torch.cat([batch.params for batch in batches])
            known = params.isfinite().all(-1)
            fit_heads(self.net, features[known], params[known])
            self.net.train()

    @override
    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        checkpoint["morphable_model"] = self.net.morphable_model.digest

    @override
    def augmented(self, batch: Batch) -> Batch:
        return self.augment(batch, self.input_size(self.progress()))

    @override
    def loss_weight(self, name: str) -> float:
        """Return the weight of a term. The terms of the uncertainty heads have equal weights."""
        return 1.0 if self.uncertainty else float(getattr(self.losses, name))

    @override
    def training_terms(self, batch: Batch) -> dict[str, Tensor]:
        return self.uncertainty_terms(batch) if self.uncertainty else super().training_terms(batch)

    @override
    def loss_terms(self, batch: Batch, output: SynergyOutput) -> dict[str, Tensor]:
        """Return the terms of the loss by their names in `LossWeights`, without the weights.

        Terms of weight 0 are left out.
        """
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
        if self.teachers:
            terms["distillation"] = lambda: self.distillation(batch, output)
        return {name: term() for name, term in terms.items() if getattr(self.losses, name)}

    def distillation(self, batch: Batch, output: SynergyOutput) -> Tensor:
        """Return the mean Wing loss of the coarse and the refined landmarks towards those of the teacher.

        The labels' weights have no effect: a face whose label has failed may well have a good prediction.
        """
        teacher = self.teachers[0]
        with torch.no_grad(), self._precision():
            target = teacher(self._laid_out(batch.image)).landmarks.float()
        weight = torch.ones_like(batch.weight)
        return (wing(output.coarse, target, weight) + wing(output.landmarks, target, weight)) / 2

    def uncertainty_terms(self, batch: Batch) -> dict[str, Tensor]:
        """Return the terms of the loss of the uncertainty heads for stored crops. They have equal weights."""
        net = self.net
        assert net.uncertainty is not None
        with torch.no_grad():
            negatives = self.features(make_negatives(batch.image, len(batch), net.size))
            batch = self.augment(batch)
        output = self(batch.image)
        assert output.face_logit is not None
        return {
            "landmark_nll": landmark_nll(output, batch.landmarks, batch.weight),
            "rotation_nll": rotation_nll(output, batch.params, batch.weight),
            "face": face_loss(output.face_logit, net.uncertainty(negatives).face_logit),
        }

    def jacobian(self, batch: Batch) -> Tensor:
        """Return how far all landmarks together move, in pixels, with one unit of each whitened parameter: (B, P).

        The pose's columns are those of the mean face.
        """
        net, face = self.net, self.net.face_model
        pose = torch.cat([face.mean, torch.ones_like(face.mean[:, :1])], -1).norm(dim=0).repeat(3)
        scale = decompose_pose(split_pose(batch.params)[0].nan_to_num(1.0))[0]
        coefficients = scale[:, None] * face.basis.norm(dim=(0, 1))
        return join_parameters(pose.expand(len(batch), -1), coefficients) * net.param_std

    @override
    def on_validation_epoch_start(self) -> None:
        super().on_validation_epoch_start()
        if self.uncertainty:
            self.uncertainty_scores = {name: UncertaintyScores().to(self.device) for name in self.scores}

    @override
    def validated(self, batch: Batch) -> SynergyOutput:
        """Predict a batch. During a run the image size is the one that training has reached."""
        is_training = self.trainer.state.fn == TrainerFn.FITTING
        size, image = self.input_size(self.progress()) if is_training else self.net.size, batch.image.float()
        if image.shape[-1] != size:
            image = interpolate(image, size=(size, size), mode="bilinear")
        output: SynergyOutput = self.net(image)
        return output

    @override
    def score(self, name: str, batch: Batch, output: SynergyOutput) -> None:
        super().score(name, batch, output)
        if name in self.uncertainty_scores:
            self.uncertainty_scores[name].update(self.net, batch, output)

    @override
    def on_validation_epoch_end(self) -> None:
        super().on_validation_epoch_end()
        for name, score in self.uncertainty_scores.items():
            self.log_dict({f"{name}/{key}": value for key, value in score.compute().items()}, sync_dist=True)


def git_revision() -> str:
    """Return the commit of this code; empty if it is not in a git repository."""
    try:
        command = ["git", "rev-parse", "HEAD"]
        found = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parent)
    except OSError:
        return ""
    return found.stdout.strip()
