from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch

from bfm_assets import open_face
from eval.inference import PredictedBatch
from eval.network import NetworkPredictor, RotatedPredictor
from synergy.data.sample import FaceSample
from synergy.geometry import euler_to_matrix
from synergy.models import SynergyNet
from synergy.networks import build_network
from synergy.predictor import FacePredictor


def test_crops_are_the_benchmark_s(samples: list[FaceSample], small_net: SynergyNet) -> None:
    predictor = NetworkPredictor(FacePredictor(small_net))
    landmarks, pose, rotation, dense, std, covariance = predictor.predict(samples)
    assert dense is None
    assert std is None
    assert covariance is None
    assert pose is not None
    assert rotation is not None
    assert landmarks.shape == (6, 68, 3)
    assert pose.shape == (6, 3)
    assert predictor.model_id == small_net.model_id
    for sample, points, angles, matrix in zip(samples, landmarks, pose, rotation, strict=True):
        face = predictor.face(sample)
        side = 120 / face.crop[0, 0]
        assert side == pytest.approx(2**0.5 * 80, rel=1e-5)  # sqrt(2) times the stated box
        assert points == pytest.approx(face.landmarks68, abs=1e-3)
        assert angles == pytest.approx([face.pose.pitch, face.pose.yaw, face.pose.roll], abs=1e-2)
        assert matrix == pytest.approx(face.pose.matrix, abs=1e-4)
    assert np.isfinite(landmarks).all()


@pytest.mark.parametrize("degrees", [-70.0, 30, 90, 180])
def test_predictions_of_rotated_photos_are_rotated_back(samples: list[FaceSample], degrees: float) -> None:
    turn = np.radians(degrees)
    about_z = np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
    true = {s.name: euler_to_matrix(torch.tensor(np.radians(s.pose_deg), dtype=torch.float64)).numpy() for s in samples}

    class Exact:
        """Predicts the points, and the rotation of a head that has been turned anticlockwise in the image."""

        model_id, crops, pose_from = "exact", "", ""

        def predict(self, rotated: Sequence[FaceSample]) -> PredictedBatch:
            self.samples = rotated
            points = np.stack([np.pad(sample.landmarks68, ((0, 0), (0, 1))) for sample in rotated])
            return PredictedBatch(points, None, np.stack([about_z @ true[sample.name] for sample in rotated]))

    inner = Exact()
    predicted = RotatedPredictor(inner, degrees).predict(samples)  # type: ignore[arg-type]
    for i, sample in enumerate(samples):
        assert predicted.landmarks68[i, :, :2] == pytest.approx(sample.landmarks68[:, :2], abs=1e-3)
        assert predicted.rotation[i] == pytest.approx(true[sample.name], abs=1e-6)  # type: ignore[index]
        rotated = inner.samples[i]
        assert np.ptp(rotated.box.reshape(2, 2), axis=0) == pytest.approx([80, 80], abs=1e-3)  # type: ignore[union-attr]
        height, width = rotated.image.shape[:2]
        assert ((rotated.landmarks68 > 0) & (rotated.landmarks68 < [width, height])).all()
    if degrees == 90:  # anticlockwise: what was on the right is now at the top
        right = int(np.argmax(samples[0].landmarks68[:, 0]))
        assert int(np.argmin(inner.samples[0].landmarks68[:, 1])) == right


def test_volumes_are_computed_where_the_network_is(samples: list[FaceSample]) -> None:
    torch.manual_seed(0)
    predictor = FacePredictor(build_network("jvcr", open_face(), variant="tiny").eval(), engine="torch")
    predictor.device = "meta"  # as after FacePredictor(device=...), whose engine alone moves to the device
    volumes = NetworkPredictor(predictor).volumes(samples[0])
    assert volumes is not None
    true, predicted = volumes
    assert true.shape == predicted.shape
    assert np.isfinite(predicted).all()


def test_dense_errors_are_computed_with_a_dense_model(samples: list[FaceSample], small_net: SynergyNet) -> None:
    params = np.zeros(12 + 199 + 29, np.float32)
    params[[0, 5, 10]] = 1e-3
    params[[3, 7]] = 60
    predictor = NetworkPredictor(FacePredictor(small_net), small_net.morphable_model)
    dense = predictor.predict([replace(sample, params=params) for sample in samples]).dense_errors
    assert dense is not None
    assert dense.shape == (6, 2)
    assert (dense > 0).all()
