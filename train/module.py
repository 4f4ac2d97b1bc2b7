"""Training and validation of SynergyNet as a LightningModule."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import torch
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor
from typing_extensions import override

from bfm_assets import read_model
from synergy.camera import preferred_projection
from synergy.errors import UserError
from synergy.geometry import decompose_pose
from synergy.models import SynergyNet, SynergyOutput
from synergy.parameters import join_parameters, split_pose
from synergy.registry import open_network
from train.augment import Augment, AugmentConfig
from train.batch import Batch
from train.face_module import DEFAULT_SCHEDULE, FaceModule, Schedule, resize
from train.losses import parameter_importance, rms, vdc, wing, wpdc
from train.mixed import keep_strided_depthwise_in_float32
from train.prune import reestimate_batch_norm
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


def _open_teacher(weights: str, bfm: str | None) -> SynergyNet:
    """Open a network of this project in evaluation mode, without gradients."""
    teacher = open_network(weights, bfm)
    if not isinstance(teacher, SynergyNet):
        raise UserError(f"--model.teacher {weights}: only a SynergyNet of this project can be a teacher")
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
        teacher: weights of a SynergyNet of this project whose landmarks for the augmented images are a second target
            (distillation), by name or file. The teacher may have another morphable model.
        teacher_bfm: Basel Face Model of the teacher, if it needs one.
        seed: decides every random number of a step, together with the number of the step.
        mixed: run the backbone, MAFA and the landmark-to-3DMM network in bf16. Heads, projection and losses stay in
            float32.
        channels_last: memory format of the convolutions.

    Raises:
        UserError: `start` cannot be read or is neither a checkpoint of a training run nor a weights file;
            or `teacher` cannot be read or is no SynergyNet of this project.
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
        self.net = SynergyNet(morphable_model, backbone, width, mafa_width=mafa_width)
        self.net.projection = preferred_projection()
        if channels_last:
            self.net.backbone.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if mixed:
            keep_strided_depthwise_in_float32(self.net.backbone)
        self.losses = losses
        self.augment = Augment(morphable_model, self.net.size, augment)

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
            UserError: no training sample has parameters, or see `FaceModule.on_fit_start`.
        """
        super().on_fit_start()
        for teacher in self.teachers:
            teacher.to(self.device)
        data = self.trainer.datamodule.train_set  # type: ignore[attr-defined]
        is_initialised = (self.net.param_std != 1).any()
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
            size = self.input_size(self.progress())
            batches = [self.augment(data[chunk], size).to(self.device) for chunk in chunks]
            if pruned:
                reestimate_batch_norm(self.net.backbone, self.net.features, (batch.image for batch in batches))
            self.net.eval()
            features = torch.cat([self.features(batch.image) for batch in batches])
            params = torch.cat([batch.params for batch in batches])
            known = params.isfinite().all(-1)
            fit_heads(self.net, features[known], params[known])
            self.net.train()

    @override
    def augmented(self, batch: Batch) -> Batch:
        return self.augment(batch, self.input_size(self.progress()))

    @override
    def loss_weight(self, name: str) -> float:
        return float(getattr(self.losses, name))

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
            with self._precision():
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
        # Landmarks are in pixels of the stored crop, whatever the size of the images, but each network needs its own.
        image = resize(batch.image, teacher.size)
        with torch.no_grad(), self._precision():
            target = teacher(self._laid_out(image)).landmarks.float()
        weight = torch.ones_like(batch.weight)
        return (wing(output.coarse, target, weight) + wing(output.landmarks, target, weight)) / 2

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
    def validated(self, batch: Batch) -> SynergyOutput:
        """Predict a batch. During a run the image size is the one that training has reached."""
        is_training = self.trainer.state.fn == TrainerFn.FITTING
        size = self.input_size(self.progress()) if is_training else self.net.size
        output: SynergyOutput = self.net(resize(batch.image.float(), size))
        return output
