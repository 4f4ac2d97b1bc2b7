"""Our networks as a `Predictor`: crops by the true box, as the benchmarks ask, never by a detector."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from eval.published import OUR_CROPS, TRUE_ROTATION
from eval.run import face_box
from synergy.data.sample import FaceSample
from synergy.face import Face
from synergy.predictor import FacePredictor


class NetworkPredictor:
    """A `FacePredictor` that is given the crops of the true boxes.

    Args:
        predictor: the predictor.
        observe: called with every sample and its predicted face.
    """

    crops = OUR_CROPS
    pose_from = TRUE_ROTATION

    def __init__(self, predictor: FacePredictor, observe: Callable[[FaceSample, Face], None] | None = None) -> None:
        self.predictor = predictor
        self._observe = observe
        self.model_id = predictor.net.model_id + (" + mirror" if predictor.mirror else "")

    def predict(self, samples: Sequence[FaceSample]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Landmarks (N, 68, 3) in image pixels and poses (N, 3) pitch, yaw, roll in degrees."""
        found = self.predictor.predict_batch(
            [sample.image for sample in samples], boxes=[face_box(sample)[None] for sample in samples]
        )
        faces = [per_image[0] for per_image in found]
        if self._observe is not None:
            for sample, face in zip(samples, faces, strict=True):
                self._observe(sample, face)
        poses = [(face.pose.pitch, face.pose.yaw, face.pose.roll) for face in faces]
        return np.stack([face.landmarks68 for face in faces]), np.array(poses, np.float32)
