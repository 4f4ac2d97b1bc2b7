"""Smooth the face of one track from frame to frame."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray

from bfm_assets import MorphableModel
from synergy.crop import landmark_box, transform_points
from synergy.face import Face, pose_from_params, rotation_to_image
from synergy.geometry import flip_y
from synergy.models.face_model import LinearFaceModel
from synergy.parameters import join_parameters, split_parameters, translate
from synergy.tracking.one_euro import OneEuro, RotationOneEuro

Array = NDArray[np.float64]

# Cutoffs in Hz, and gains in Hz per unit of speed. Lengths are in units of the face's size, so that the values do not
# depend on the resolution. They were chosen on the clips of `synergy eval video` (docs/journal.md).
_CENTRE = (0.35, 60.0)
_SIZE = (0.25, 60.0)
_ROTATION = (0.25, 25.0)
_POINTS = (0.3, 15.0)
_EXPRESSION = (0.35, 8.0)
# Number of frames whose median uncertainty is what is usual for a track.
_USUAL = 31


class FaceSmoother:
    """Filter the faces of one track: position, size, rotation, expression and landmarks; average the identity shape.

    Each part has its own One-Euro filter. The landmarks are filtered in the frame of the head, where they change with
    the expression only. Frames whose landmarks are more uncertain than is usual in the track
    (`Face.landmarks68_std`), or whose `Face.confidence` is low, have a lower weight.

    Attributes:
        shape: (S,) mean shape coefficients of the track; None before the first face.
    """

    def __init__(self) -> None:
        self._uncertainty: deque[float] = deque(maxlen=_USUAL)
        self._weight = 0.0
        self.shape: Array | None = None
        self.restart()

    def restart(self) -> None:
        """Forget everything but the identity shape: the next face is taken as it is."""
        self._centre = OneEuro(*_CENTRE)
        self._size = OneEuro(*_SIZE)
        self._rotation = RotationOneEuro(*_ROTATION)
        self._points = OneEuro(*_POINTS, speed_cutoff=3.0)
        self._expression = OneEuro(*_EXPRESSION, speed_cutoff=3.0)

    @property
    def velocity(self) -> Array:
        """Speed (2,) of the centre of the landmarks, in image pixels per second."""
        return self._centre.speed

    def __call__(self, face: Face, seconds: float) -> Face:
        """Smooth the next face of the track.

        Args:
            face: the face as it was predicted.
            seconds: time since the previous face of the track.

        Returns:
            The face with smoothed landmarks, pose, parameters and box. `box` is the bounding box of the smoothed
            landmarks.
        """
        weight = self._weight_of(face)
        pose, shape, expression = split_parameters(face.params.astype(np.float64), face.morphable_model.n_shape)
        self._average_shape(shape, weight)
        assert self.shape is not None

        size = face_size(face)
        log_size = self._size(np.log([size]), seconds, weight)
        smooth_size = float(np.exp(log_size[0]))
        centre = face.landmarks68[:, :2].mean(0)
        self._centre.speed_gain = _CENTRE[1] / smooth_size
        centre = self._centre(centre, seconds, weight)
        rotation = self._rotation(face.pose.matrix.astype(np.float64), seconds, weight)

        offsets = face.landmarks68 - np.append(face.landmarks68[:, :2].mean(0), 0)
        in_head = flip_y(offsets / size) @ face.pose.matrix
        in_head = self._points(in_head, seconds, weight)
        landmarks = flip_y(in_head @ rotation.T) * smooth_size + np.append(centre, 0)
        landmarks[:, 2] -= landmarks[:, 2].mean()

        expression = self._expression(expression, seconds, weight)
        scale = np.linalg.norm(pose.reshape(3, 4)[:2, :3], axis=1).mean() * smooth_size / size
        in_crop = rotation_to_image(face.crop).T @ rotation
        matrix = np.concatenate([scale * in_crop, np.zeros((3, 1))], 1).ravel()
        params = join_parameters(matrix, self.shape, expression)
        params = _centred(face, params, landmarks)
        return replace(
            face,
            box=landmark_box(landmarks).astype(np.float32),
            landmarks68=landmarks.astype(np.float32),
            params=params,
            pose=pose_from_params(params, face.crop),
        )

    def _average_shape(self, shape: Array, weight: float) -> None:
        """Add shape coefficients (S,) to the mean of the track."""
        self._weight += weight
        if self.shape is None:
            self.shape = shape.copy()
        else:
            self.shape = self.shape + (shape - self.shape) * weight / max(self._weight, 1e-12)

    def _weight_of(self, face: Face) -> float:
        """Return the weight of a face in 0..1: its confidence, times usual variance over variance of the landmarks."""
        weight = 1.0 if face.confidence is None else face.confidence
        if face.landmarks68_std is not None:
            std = float(face.landmarks68_std.mean()) / face_size(face)
            self._uncertainty.append(std)
            weight *= min(1.0, float(np.median(self._uncertainty)) / std) ** 2
        return weight


def face_size(face: Face) -> float:
    """Return the size in image pixels of the mean face at the scale of a face. It does not depend on the rotation."""
    return face.pose.scale * _model_size(face.morphable_model)


@lru_cache(maxsize=8)
def _model_size(model: MorphableModel) -> float:
    """Return the longer side of the bounding box of the mean face's landmarks, in model units."""
    return float(np.ptp(model.mean[model.landmarks][:, :2], axis=0).max())


@lru_cache(maxsize=8)
def _landmark_model(model: MorphableModel) -> LinearFaceModel:
    """Return the 68 landmark vertices of a morphable model as a function of the parameters."""
    return LinearFaceModel(model, landmarks_only=True)


def _centred(face: Face, params: NDArray[np.floating], landmarks: NDArray[np.floating]) -> NDArray[np.float32]:
    """Move a mesh so that the mean of its landmarks is that of given landmarks (68, 3) in image pixels.

    Args:
        face: has the crop.
        params: (12 + S + E,) in crop pixels, of any translation.
        landmarks: (68, 3) in image pixels.
    """
    model = _landmark_model(face.morphable_model)
    own = model.project(torch.from_numpy(params.astype(np.float32)), face.crop_size).numpy()
    shift = (transform_points(face.crop, landmarks) - own)[:, :2].mean(0)
    return np.asarray(translate(params.astype(np.float32), x=shift[0], y=-shift[1]), np.float32)
