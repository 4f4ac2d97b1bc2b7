"""Training and validation of landmark networks (`synergy.networks`) as a LightningModule."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from bfm_assets import read_model
from synergy.data.sample import OCCLUDED
from synergy.errors import UserError
from synergy.geometry import decompose_pose, matrix_to_euler
from synergy.models import SynergyOutput
from synergy.models.landmark_net import LandmarkNet, LandmarkOutput
from synergy.networks import build_network
from synergy.parameters import split_pose
from train.augment import Augment, AugmentConfig
from train.batch import Batch
from train.face_module import DEFAULT_SCHEDULE, FaceModule, Schedule
from train.landmark_crops import in_crop_pixels, predict_stored, zoom_of
from train.losses import direction_loss, gaussian_nll, pfld, rarity, smooth_l1, wing
from train.packs.pack import CROP_SIZE

LandmarkLoss = Callable[[LandmarkOutput, Batch], Tensor]

# The groups of faces of `rarity`: faces beyond these angles in degrees, and faces with more occluded landmarks.
_PROFILE, _UP_DOWN, _TILTED, _MANY_OCCLUDED = 30.0, 20.0, 20.0, 8


class LandmarkModule(FaceModule):
    """Training and validation of a landmark network.

    All losses are in pixels of a crop of 120 pixels, whatever the size of the network's input.

    Args:
        net: name of the network (`synergy.networks`).
        options: options of the network, for example {width: 0.5}.
        losses: weights of the losses by name: keys of `LOSSES`.
        model: morphable model for head pose and mesh: "open_face" or a path.
        schedule: learning rate over the run.
        augment: strengths and probabilities of the augmentation.
        seed: decides every random number of a step, together with the number of the step.
        mixed: run the network in bf16. Losses stay in float32.
        channels_last: memory format of the convolutions.

    Raises:
        UserError: unknown network, option or loss.
    """

    net: LandmarkNet

    def __init__(
        self,
        net: str = "direct",
        options: dict[str, Any] | None = None,
        losses: dict[str, float] | None = None,
        model: str = "open_face",
        schedule: Schedule = DEFAULT_SCHEDULE,
        augment: AugmentConfig | None = None,
        seed: int = 0,
        mixed: bool = False,
        channels_last: bool = True,
    ) -> None:
        super().__init__(schedule, seed, mixed, channels_last)
        if schedule.sizes:
            raise UserError("model.schedule.sizes: landmark networks have one image size; leave it out")
        self.save_hyperparameters(ignore=["losses", "schedule", "augment"])
        morphable_model = read_model(model)
        self.net = build_network(net, morphable_model, **(options or {}))
        if channels_last:
            self.net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.losses = {"wing": 1.0} if losses is None else losses
        if unknown := sorted(set(self.losses) - set(LOSSES)):
            raise UserError(f"model.losses: unknown loss '{unknown[0]}'; choose from {', '.join(LOSSES)}")
        self.augment = Augment(morphable_model, CROP_SIZE, augment, zoom_of(self.net))

    @override
    def forward(self, images: Tensor) -> LandmarkOutput:
        """Run `LandmarkNet.stages`, in bf16 if `mixed`."""
        with self._precision():
            return self.net.stages(self._laid_out(images))

    @override
    def augmented(self, batch: Batch) -> Batch:
        return self.augment(batch, self.net.size)

    @override
    def on_fit_start(self) -> None:
        """Check that the first training samples have what the network needs.

        Raises:
            UserError: they do not, or see `FaceModule.on_fit_start`.
        """
        super().on_fit_start()
        data = self.trainer.datamodule.train_set  # type: ignore[attr-defined]
        if len(data):
            self.check_labels(data[list(range(min(len(data), 256)))])

    def check_labels(self, batch: Batch) -> None:
        """Raise `UserError` unless some samples have the labels that the network and the losses need."""
        if not batch.landmarks[..., :2].isfinite().any():
            raise UserError("the training samples have no landmarks")
        if self.net.dims == 3 and not batch.landmarks[..., 2].isfinite().any():
            raise UserError(
                f"the network '{self.hparams['net']}' predicts 3D landmarks, but the training samples have no "
                "depth; give --model.options.dims 2 if it has that option, or data with 3D landmarks"
            )

    @override
    def loss_weight(self, name: str) -> float:
        return self.losses[name]

    @override
    def loss_terms(self, batch: Batch, output: LandmarkOutput) -> dict[str, Tensor]:
        """Return the losses by name, without their weights. Losses of weight 0 are left out.

        Raises:
            UserError: a loss needs an output that the network does not have.
        """
        output = in_crop_pixels(output, self.net.size)
        return {name: LOSSES[name](output, batch) for name, weight in self.losses.items() if weight}

    @override
    def validated(self, batch: Batch) -> SynergyOutput:
        """Predict a batch."""
        return predict_stored(self.net, batch.image)


def mean_of_stages(loss: Callable[[Tensor, Tensor, Tensor], Tensor]) -> LandmarkLoss:
    """Return a loss that is the mean over the stages of a network."""

    def over_stages(output: LandmarkOutput, batch: Batch) -> Tensor:
        terms = [loss(stage, batch.landmarks[..., : stage.shape[-1]], batch.weight) for stage in output.stages]
        return torch.stack(terms).mean()

    return over_stages


def true_angles(batch: Batch) -> Tensor:
    """Return pitch, yaw and roll (B, 3) in radians of the labels, NaN where there are no parameters."""
    return matrix_to_euler(decompose_pose(split_pose(batch.params)[0])[1])


def _gaussian_nll(output: LandmarkOutput, batch: Batch) -> Tensor:
    if output.std is None:
        raise UserError(
            "loss 'gaussian_nll': the network predicts no standard deviations; give --model.options.std true"
        )
    landmarks = output.stages[-1]
    return gaussian_nll(landmarks, batch.landmarks[..., : landmarks.shape[-1]], output.std, batch.weight)


def _pfld(output: LandmarkOutput, batch: Batch) -> Tensor:
    if output.angles is None:
        raise UserError("loss 'pfld': the network has no auxiliary branch for the head pose; use the network 'pfld'")
    angles = true_angles(batch)
    degrees = angles.rad2deg()
    occluded = (batch.visibility == OCCLUDED).sum(-1) > _MANY_OCCLUDED
    groups = [degrees[:, 1].abs() > _PROFILE, degrees[:, 0].abs() > _UP_DOWN, degrees[:, 2].abs() > _TILTED, occluded]
    weight = batch.weight * rarity(torch.stack(groups, -1))
    landmarks = output.stages[-1]
    return pfld(landmarks, batch.landmarks[..., : landmarks.shape[-1]], output.angles, angles, weight)


# The losses by name.
LOSSES: dict[str, LandmarkLoss] = {
    "wing": mean_of_stages(wing),
    "smooth_l1": mean_of_stages(smooth_l1),
    "direction": mean_of_stages(direction_loss),
    "gaussian_nll": _gaussian_nll,
    "pfld": _pfld,
}
