"""Our networks as a `Predictor`: crops by the true box, as the benchmarks ask, never by a detector."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from eval.published import LIKELY_ANGLES, OUR_CROPS
from eval.run import Predicted, face_box
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
    pose_from = LIKELY_ANGLES

    def __init__(self, predictor: FacePredictor, observe: Callable[[FaceSample, Face], None] | None = None) -> None:
        self.predictor = predictor
        self._observe = observe
        self.model_id = predictor.net.model_id + (" + mirror" if predictor.mirror else "")

    @property
    def has_mesh(self) -> bool:
        """Whether its faces have a mesh."""
        return self.predictor.net.morphable_model.is_dense

    def face(self, sample: FaceSample) -> Face:
        """Predict the face of one sample."""
        return self.predictor(sample.image, boxes=face_box(sample)[None])[0]

    def predict(self, samples: Sequence[FaceSample]) -> Predicted:
        """Predict landmarks, angles and rotations of samples. See `eval.run.Predicted`."""
        found = self.predictor.predict_batch(
            [sample.image for sample in samples], boxes=[face_box(sample)[None] for sample in samples]
        )
        faces = [per_image[0] for per_image in found]
        if self._observe is not None:
            for sample, face in zip(samples, faces, strict=True):
                self._observe(sample, face)
        poses = [(face.pose.pitch, face.pose.yaw, face.pose.roll) for face in faces]
        return Predicted(
            np.stack([face.landmarks68 for face in faces]),
            np.array(poses, np.float32),
            np.stack([face.pose.matrix for face in faces]),
        )
