"""Training of the uncertainty heads of a trained network as a LightningModule, and their calibration at its end."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor
from typing_extensions import override

from bfm_assets import read_model
from synergy.camera import preferred_projection
from synergy.errors import UserError
from synergy.models import SynergyNet, SynergyOutput
from train.augment import Augment, AugmentConfig
from train.batch import Batch
from train.data import validation_loader
from train.face_module import DEFAULT_SCHEDULE, FaceModule, Schedule, resize
from train.negatives import make_negatives
from train.uncertainty import UncertaintyScores, face_loss, fit_temperatures, landmark_nll, rotation_nll
from train.warm_start import TrainedNetwork


class UncertaintyModule(FaceModule):
    """Training and validation of the uncertainty heads of a trained `SynergyNet`.

    Everything else of the network is frozen, BatchNorm included, so that its landmarks and parameters do not change.
    The terms of the loss have equal weights.

    Args:
        start: checkpoint of a run, or weights file, of the trained network.
        model: its morphable model: "open_face", or a path in any format of `bfm_assets`.
        schedule: learning rate over the run.
        augment: strengths and probabilities of the augmentation.
        seed: decides every random number of a step, together with the number of the step.

    Raises:
        UserError: `start` is empty, cannot be read, has another morphable model, or is neither a checkpoint of a
            training run nor a weights file.
    """

    net: SynergyNet

    def __init__(
        self,
        start: str = "",
        model: str = "open_face",
        schedule: Schedule = DEFAULT_SCHEDULE,
        augment: AugmentConfig | None = None,
        seed: int = 0,
    ) -> None:
        if not start:
            raise UserError("uncertainty heads are trained on a trained network; give it with --model.start")
        super().__init__(schedule, seed, mixed=False, channels_last=True)
        self.save_hyperparameters(ignore=["schedule", "augment"])
        morphable_model = read_model(model)
        self.net = TrainedNetwork.read(start).with_uncertainty(morphable_model).requires_grad_(False).eval()
        assert self.net.uncertainty is not None
        self.net.uncertainty.requires_grad_(True)
        self.net.projection = preferred_projection()
        self.net.backbone.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.augment = Augment(morphable_model, self.net.size, augment)
        self.uncertainty_scores: dict[str, UncertaintyScores] = {}

    @override
    def train(self, mode: bool = True) -> UncertaintyModule:
        """Keep the network in evaluation mode, for the sake of BatchNorm."""
        return super().train(False)

    @override
    def forward(self, images: Tensor) -> SynergyOutput:
        output: SynergyOutput = self.net(self._laid_out(images))
        return output

    @override
    def augmented(self, batch: Batch) -> Batch:
        return self.augment(batch)

    @override
    def loss_weight(self, name: str) -> float:
        return 1.0

    @override
    def training_terms(self, batch: Batch) -> dict[str, Tensor]:
        """Return the terms of the loss for stored crops, and for as many negatives that are made from them."""
        assert self.net.uncertainty is not None
        with torch.no_grad():
            negatives = self.net.features(self._laid_out(make_negatives(batch.image, len(batch), self.net.size)))
            batch = self.augmented(batch)
        output = self(batch.image)
        face = face_loss(output.face_logit, self.net.uncertainty(negatives).face_logit)
        return {**self.loss_terms(batch, output), "face": face}

    @override
    def loss_terms(self, batch: Batch, output: SynergyOutput) -> dict[str, Tensor]:
        """Return the negative log-likelihoods of landmarks and rotation."""
        return {
            "landmark_nll": landmark_nll(output, batch.landmarks, batch.weight),
            "rotation_nll": rotation_nll(output, batch.params, batch.weight),
        }

    @override
    def validated(self, batch: Batch) -> SynergyOutput:
        """Predict a batch."""
        output: SynergyOutput = self.net(resize(batch.image.float(), self.net.size))
        return output

    @override
    def on_validation_epoch_start(self) -> None:
        super().on_validation_epoch_start()
        self.uncertainty_scores = {name: UncertaintyScores().to(self.device) for name in self.scores}

    @override
    def score(self, name: str, batch: Batch, output: SynergyOutput) -> None:
        super().score(name, batch, output)
        self.uncertainty_scores[name].update(self.net, batch, output)

    @override
    def on_validation_epoch_end(self) -> None:
        super().on_validation_epoch_end()
        for name, score in self.uncertainty_scores.items():
            self.log_dict({f"{name}/{key}": value for key, value in score.compute().items()}, sync_dist=True)


class Calibrate(Callback):
    """Fit the temperatures at the end of the training of uncertainty heads, on the calibration set of the data.

    The faces are augmented as in training. The network was trained on these photos, but its uncertainty heads were not.
    The errors of the network on the stored crops are therefore smaller than those on new photos.

    It runs before the last checkpoint is written, because Lightning calls callbacks that write checkpoints last.
    Training itself has temperatures of 1. A run that was told to stop early, at a time limit, is therefore not
    calibrated.
    """

    @override
    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Check that there is a calibration set.

        Raises:
            UserError: there is none.
        """
        if not len(trainer.datamodule.calibration_set):  # type: ignore[attr-defined]
            raise UserError("no faces are kept out of training to fit the temperatures; give --data.calibration 0.1")

    @override
    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, UncertaintyModule)
        assert pl_module.net.uncertainty is not None
        pl_module.net.uncertainty.temperature.fill_(1)

    @override
    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, UncertaintyModule)
        if trainer.should_stop and pl_module.progress() < 1:
            return
        pl_module.eval()
        faces = validation_loader(trainer.datamodule.calibration_set)  # type: ignore[attr-defined]
        fit_temperatures(pl_module.net, augmented_batches(pl_module.augment, faces))


def augmented_batches(augment: Augment, batches: Iterable[Batch]) -> Iterator[Batch]:
    """Augment batches, in the same way in each call. The state of torch's global random generator does not change."""
    for number, batch in enumerate(batches):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(number)
            yield augment(batch)
