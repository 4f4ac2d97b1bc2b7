"""The function that every engine computes, and that exported models compute: from crops to predictions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from synergy.landmarks import FLIP68
from synergy.mirror import MirrorCoefficients, mirror_landmarks, mirror_rotation_covariance
from synergy.models.fold import fold_batch_norm
from synergy.models.synergynet import SynergyNet, SynergyOutput
from synergy.parameters import make_pose_rigid

T = TypeVar("T")
Floats = NDArray[np.float32]


class CropPredictions(NamedTuple, Generic[T]):
    """Predictions for N crops in crop pixels, as numpy arrays or as tensors.

    The last three are None for a network without uncertainty heads.

    Attributes:
        landmarks: (N, 68, 3).
        params: (N, 12 + S + E) parameters of a mesh that follows the landmarks.
        landmark_std: (N, 68) standard deviation of x, and of y, of each landmark.
        rotation_covariance: (N, 3, 3) covariance of the rotation's error in radians squared, in the camera's frame.
        confidence: (N,) probability in 0..1 that the crop shows a face.
    """

    landmarks: T
    params: T
    landmark_std: T | None = None
    rotation_covariance: T | None = None
    confidence: T | None = None

    def select(self, index: slice | NDArray[np.integer]) -> CropPredictions[T]:
        """Return the predictions for some of the crops. An array of indices makes a copy."""
        return CropPredictions(*(None if array is None else array[index] for array in self))  # type: ignore[arg-type, index]


def join_predictions(batches: Sequence[CropPredictions[Floats]]) -> CropPredictions[Floats]:
    """Join the predictions for one or more batches of crops by the same network."""
    if len(batches) == 1:
        return batches[0]
    first = batches[0]._asdict()
    known = {name: [getattr(batch, name) for batch in batches] for name in first if first[name] is not None}
    return CropPredictions(**{name: np.concatenate(arrays) for name, arrays in known.items()})


class CropModel(nn.Module):
    """A network with what comes before and after it: uint8 crops to predictions, without BatchNorm.

    Args:
        net: a `synergy.engines.Network` that is a torch module. It is copied.
        mirror: predict every crop's mirror image too and take the mean.

    Attributes:
        size: side of the crops in pixels.
        shapes: name and shape without the batch of each output.
        outputs: the fields of `CropPredictions` that the network predicts, in the order of the outputs of `forward`.

    Example:
        >>> from synergy.weights import load
        >>> model = CropModel(load())
        >>> model.outputs[:2], model(torch.zeros(2, 120, 120, 3, dtype=torch.uint8))[0].shape
        (('landmarks', 'params'), torch.Size([2, 68, 3]))
    """

    def __init__(self, net: nn.Module, mirror: bool = False) -> None:
        super().__init__()
        folded: Any = fold_batch_norm(net)  # more attributes than those of every torch module
        if isinstance(net, SynergyNet):
            folded.landmark_to_3dmm = nn.Identity()  # prediction never runs it
        self.net = folded.requires_grad_(False)
        self.size: int = folded.size
        self.mirror = MirrorCoefficients(folded.morphable_model) if mirror else None
        device = next(net.parameters()).device
        with torch.inference_mode():
            blank = self.predict(torch.zeros(1, self.size, self.size, 3, dtype=torch.uint8, device=device))
        self.shapes = {name: tuple(tensor.shape[1:]) for name, tensor in blank._asdict().items() if tensor is not None}
        self.outputs = tuple(self.shapes)

    def predict(self, crops: Tensor) -> CropPredictions[Tensor]:
        """Predict crops (B, size, size, 3), uint8 RGB."""
        images = crops.permute(0, 3, 1, 2)
        output: SynergyOutput = self.net(images)
        if self.mirror is not None:
            output = _mean_with_mirrored(output, self.net(images.flip(-1)), self.mirror, self.size)
            if isinstance(self.net, SynergyNet):
                # The mean of two rigid poses is not rigid.
                output = output._replace(params=make_pose_rigid(output.params))
        params = self.net.match_landmarks(output.params, output.landmarks)
        confidence = None if output.face_logit is None else output.face_logit.sigmoid()
        return CropPredictions(output.landmarks, params, output.landmark_std, output.rotation_covariance, confidence)

    def forward(self, crops: Tensor) -> tuple[Tensor, ...]:
        """Return the predictions named by `outputs` for crops (B, size, size, 3), uint8 RGB."""
        predicted = self.predict(crops)
        return tuple(getattr(predicted, name) for name in self.outputs)


def _mean_with_mirrored(
    output: SynergyOutput, mirrored: SynergyOutput, mirror: MirrorCoefficients, size: int
) -> SynergyOutput:
    """Return the mean of the outputs for crops and for the mirrored crops.

    Their errors are taken as equal, so standard deviations are averaged and do not become smaller.
    """
    mean = output._replace(
        landmarks=(output.landmarks + mirror_landmarks(mirrored.landmarks, size)) / 2,
        params=(output.params + mirror.mirror(mirrored.params, size)) / 2,
    )
    if output.landmark_std is None or mirrored.landmark_std is None:
        return mean
    assert output.rotation_covariance is not None
    assert mirrored.rotation_covariance is not None
    assert output.face_logit is not None
    assert mirrored.face_logit is not None
    covariance = mirror_rotation_covariance(mirrored.rotation_covariance)
    return mean._replace(
        landmark_std=(output.landmark_std + mirrored.landmark_std[:, FLIP68.tolist()]) / 2,
        rotation_covariance=(output.rotation_covariance + covariance) / 2,
        face_logit=(output.face_logit + mirrored.face_logit) / 2,
    )
