"""JVCR's training in two phases (Zhang et al. 2018, arXiv 1801.09242)."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import mse_loss
from typing_extensions import override

from synergy.errors import UserError
from synergy.models.landmark_net import LandmarkOutput
from synergy.networks.jvcr import Network
from synergy.voxels import VolumeFrame, append_centres, encode, to_voxels
from train.augment import AugmentConfig
from train.batch import Batch
from train.face_module import DEFAULT_SCHEDULE, Schedule
from train.landmark_crops import resize_points
from train.landmark_module import LandmarkModule
from train.losses import adaptive_wing, masked_mean
from train.packs.pack import CROP_SIZE

_VOLUME_LOSSES = {"mse": partial(mse_loss, reduction="none"), "adaptive_wing": adaptive_wing}


class JVCRModule(LandmarkModule):
    """Training and validation of JVCR.

    In the first phase the hourglasses learn the volumes, and the coordinate network learns the coordinates of TRUE
    volumes: the loss is the sum of both, and no gradient goes from one network to the other. In the second phase both
    are trained end to end by coordinates + `volume_weight` * volumes. The loss of the volumes is the sum over the
    stacks, that of the coordinates the mean squared error of coordinates in 0..1.

    Args:
        variant: "full", "small" or "tiny" (`synergy.networks.jvcr`).
        first_phase: fraction of the run that is the first phase.
        volume_weight: weight of the volumes in the second phase.
        volume_loss: "mse" or "adaptive_wing".
        model: morphable model for head pose and mesh: "open_face" or a path.
        schedule: learning rate over the run.
        augment: strengths and probabilities of the augmentation.
        seed: decides every random number of a step, together with the number of the step.
        mixed: run the network in bf16. Losses stay in float32.
        channels_last: memory format of the 2D convolutions.

    Raises:
        UserError: unknown variant or loss.
    """

    net: Network

    def __init__(
        self,
        variant: str = "full",
        first_phase: float = 0.5,
        volume_weight: float = 0.1,
        volume_loss: str = "mse",
        model: str = "open_face",
        schedule: Schedule = DEFAULT_SCHEDULE,
        augment: AugmentConfig | None = None,
        seed: int = 0,
        mixed: bool = False,
        channels_last: bool = True,
    ) -> None:
        if volume_loss not in _VOLUME_LOSSES:
            raise UserError(f"model.volume_loss: unknown loss '{volume_loss}'; choose from {', '.join(_VOLUME_LOSSES)}")
        super().__init__("jvcr", {"variant": variant}, {}, model, schedule, augment, seed, mixed, channels_last=False)
        if channels_last:
            self.net.hourglass.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.channels_last = channels_last
        self.first_phase, self.volume_weight, self.volume_loss = first_phase, volume_weight, volume_loss

    def is_first_phase(self) -> bool:
        """Return whether the run is in its first phase."""
        return self.progress() < self.first_phase

    @override
    def forward(self, images: Tensor) -> LandmarkOutput:
        """Run the network; in the first phase of training the hourglasses alone, whose output then has no landmarks."""
        if not (self.training and self.is_first_phase()):
            return super().forward(images)
        with self._precision():
            volumes = self.net.hourglass((self._laid_out(images) - 127.5) / 128)
        return LandmarkOutput((), volumes=tuple(volume.float() for volume in volumes))

    @override
    def check_labels(self, batch: Batch) -> None:
        if not batch.landmarks.isfinite().all((1, 2)).any():
            raise UserError(
                "JVCR needs all 68 landmarks with depth, which no training sample has: use a pack of "
                "`synergy label build`, or 300W-LP with --data.bfm"
            )

    @override
    def loss_weight(self, name: str) -> float:
        return self.volume_weight if name == "volumes" and not self.is_first_phase() else 1.0

    @override
    def loss_terms(self, batch: Batch, output: LandmarkOutput) -> dict[str, Tensor]:
        """Return the losses of volumes and coordinates. Faces with an unknown coordinate are left out."""
        known = batch.landmarks.isfinite().all(-1).all(-1)
        assert output.volumes is not None
        if not known.any():
            zero = 0.0 * torch.stack([volume.sum() for volume in output.volumes]).sum()
            return {"volumes": zero, "coordinates": zero}
        true = resize_points(batch.landmarks[known], CROP_SIZE, self.net.size)
        targets = self._true_volumes(true)
        loss: Any = _VOLUME_LOSSES[self.volume_loss]
        volumes = [loss(volume[known], target) for volume, target in zip(output.volumes, targets, strict=True)]
        points = self.net.points_in(targets[-1]) if output.points is None else output.points[known]
        squares = (self.net.to_unit(points) - self.net.to_unit(append_centres(true))).square()

        def mean(values: Tensor) -> Tensor:
            return masked_mean(values, torch.ones_like(values, dtype=torch.bool), batch.weight[known])

        return {"volumes": torch.stack([mean(values) for values in volumes]).sum(), "coordinates": mean(squares)}

    @torch.no_grad()
    def _true_volumes(self, landmarks: Tensor) -> list[Tensor]:
        """Return the volumes (B, depth, R, R) of landmarks (B, 68, 3) in pixels of the network's crop."""
        n, size = len(landmarks), self.net.size
        frame = VolumeFrame(landmarks.new_full((n, 2), (size - 1) / 2), landmarks.new_full((n,), float(size)))
        resolution = self.net.resolution
        return [encode(to_voxels(landmarks, frame, depth, resolution), depth, resolution) for depth in self.net.depths]
