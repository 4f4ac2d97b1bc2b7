"""Networks as an `eval.inference.Predictor`: crops come from the true box, as the benchmarks require."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bfm_assets.schema import MorphableModel
from eval.baselines import LIKELY_ANGLES, OUR_CROPS
from eval.dense import dense_errors
from eval.inference import PredictedBatch, face_box
from synergy.data.sample import FaceSample
from synergy.face import Face
from synergy.predictor import FacePredictor


class NetworkPredictor:
    """A `FacePredictor` on the crops of the true boxes. No detector runs.

    Args:
        predictor: the predictor.
        dense_model: Basel Face Model of the true meshes, to compute dense errors, or None.
    """

    crops = OUR_CROPS
    pose_from = LIKELY_ANGLES

    def __init__(self, predictor: FacePredictor, dense_model: MorphableModel | None = None) -> None:
        self.predictor = predictor
        self.dense_model = dense_model
        self.model_id = predictor.net.model_id + (" + mirror" if predictor.mirror else "")

    @property
    def has_mesh(self) -> bool:
        """Whether the predicted faces have a mesh."""
        return self.predictor.net.morphable_model.is_dense

    def face(self, sample: FaceSample) -> Face:
        """Predict the face of one sample with its image."""
        return self.predictor(sample.image, boxes=face_box(sample)[None])[0]

    def predict(self, samples: Sequence[FaceSample]) -> PredictedBatch:
        """Predict samples with images; see `PredictedBatch`."""
        faces_per_image = self.predictor.predict_batch(
            [sample.image for sample in samples], boxes=[face_box(sample)[None] for sample in samples]
        )
        faces = [faces[0] for faces in faces_per_image]
        dense = None
        if self.dense_model is not None:
            pairs = zip(samples, faces, strict=True)
            dense = np.array([dense_errors(sample, face, self.dense_model) for sample, face in pairs])
        return PredictedBatch(
            np.stack([face.landmarks68 for face in faces]),
            np.array([(face.pose.pitch, face.pose.yaw, face.pose.roll) for face in faces], np.float32),
            np.stack([face.pose.matrix for face in faces]),
            dense,
        )
