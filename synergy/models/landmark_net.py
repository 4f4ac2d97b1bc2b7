"""What networks that predict landmarks without a morphable model have in common."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from bfm_assets import MorphableModel
from synergy.crop import LANDMARK_MARGIN
from synergy.geometry import centre_depth, flip_y
from synergy.models.landmark_fit import LandmarkFit
from synergy.models.synergynet import SynergyOutput


class LandmarkOutput(NamedTuple):
    """What a landmark network computes for B crops. Losses use all of it, predictions only the last stage.

    Attributes:
        stages: landmarks (B, 68, D) in crop pixels of each stage of the network. The last one is the prediction. D is 2
            or 3; z is in the same scale, larger is nearer.
        std: (B, 68) standard deviation of x, and of y, in crop pixels, or None.
        angles: (B, 3) pitch, yaw and roll in radians of an auxiliary branch, or None.
        volumes: score volumes (B, depth, R, R) of each stage (`synergy.voxels`), or None.
        points: (B, 71, 3) in crop pixels: the landmarks and the centres of eyes and mouth, or None.
    """

    stages: tuple[Tensor, ...]
    std: Tensor | None = None
    angles: Tensor | None = None
    volumes: tuple[Tensor, ...] | None = None
    points: Tensor | None = None


class LandmarkNet(nn.Module):
    """A network from crops to 68 landmarks.

    A subclass implements `predict`. Its constructor takes the morphable model first and then options by name, and
    passes the options on as `architecture`. They are stored with the weights. The parameters of the morphable model,
    for head pose and mesh, are fitted to the predicted landmarks.

    Args:
        model: morphable model for head pose and mesh.
        size: side of the square input crop in pixels.
        dims: 2 or 3 coordinates per landmark. The depth of 2D landmarks is that of the mean face.
        margin: side of the crop in units of the longer side of the landmarks' box (`synergy.crop.square_crop`).
        architecture: options of the subclass's constructor, without the model.

    Attributes:
        model_id: name of the weights.
        morphable_model: `model`.
        mean_landmarks: (68, dims) landmarks of the frontal mean face in crop pixels.
    """

    mean_landmarks: Tensor

    def __init__(
        self,
        model: MorphableModel,
        size: int,
        dims: int = 3,
        margin: float = LANDMARK_MARGIN,
        architecture: dict[str, Any] | None = None,
    ) -> None:
        if dims not in (2, 3):
            raise ValueError(f"landmarks have 2 or 3 coordinates, not {dims}")
        super().__init__()
        self.size, self.dims, self.margin = size, dims, margin
        self.architecture = {"network": type(self).__module__.rpartition(".")[2], **(architecture or {})}
        self.model_id = "untrained"
        self.morphable_model = model
        self.landmark_fit = LandmarkFit(model)
        self.register_buffer("mean_landmarks", _mean_landmarks(model, size, margin)[:, :dims], persistent=False)

    @abstractmethod
    def predict(self, images: Tensor) -> LandmarkOutput:
        """Predict crops (B, 3, size, size), float, RGB in about -1..1."""

    def stages(self, images: Tensor) -> LandmarkOutput:
        """Predict crops (B, 3, size, size), RGB in 0..255, uint8 or float."""
        return self.predict((images.to(self.mean_landmarks.dtype) - 127.5) / 128)

    def forward(self, images: Tensor) -> SynergyOutput:
        """Predict landmarks of crops and fit the morphable model to them.

        Args:
            images: crops (B, 3, size, size), RGB in 0..255, uint8 or float.

        Returns:
            Landmarks and parameters. There is no refinement and no whitening: `coarse` equals `landmarks`, and
            `whitened` equals `params`.
        """
        landmarks = self.stages(images).stages[-1]
        landmarks = self.landmark_fit.add_depth(landmarks, self.size) if self.dims == 2 else centre_depth(landmarks)
        params = self.landmark_fit(landmarks, self.size)
        return SynergyOutput(landmarks, landmarks, params, params)

    def match_landmarks(self, params: Tensor, landmarks: Tensor) -> Tensor:  # noqa: ARG002
        """Return parameters (B, 12 + S + E) of the mesh that is nearest to landmarks (B, 68, 3) in crop pixels."""
        matched: Tensor = self.landmark_fit(landmarks, self.size)
        return matched


def _mean_landmarks(model: MorphableModel, size: int, margin: float) -> Tensor:
    """Return the landmarks (68, 3) of the frontal mean face in the middle of its crop, in pixels."""
    points = torch.from_numpy(flip_y(model.mean[model.landmarks].astype(np.float64)))
    low, high = points.amin(0), points.amax(0)
    points = (points - (low + high) / 2) * size / (margin * (high - low)[:2].max())
    return centre_depth(points + points.new_tensor([(size - 1) / 2, (size - 1) / 2, 0.0])).float()
