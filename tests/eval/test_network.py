import numpy as np
import pytest

from eval.network import NetworkPredictor
from synergy.data.sample import FaceSample
from synergy.face import Face
from synergy.models import SynergyNet
from synergy.predictor import FacePredictor


def test_crops_are_the_benchmark_s(samples: list[FaceSample], small_net: SynergyNet) -> None:
    seen: list[tuple[str, Face]] = []
    predictor = NetworkPredictor(FacePredictor(small_net), lambda sample, face: seen.append((sample.name, face)))
    landmarks, pose, rotation = predictor.predict(samples)
    assert landmarks.shape == (6, 68, 3)
    assert pose.shape == (6, 3)
    assert predictor.model_id == small_net.model_id
    assert [name for name, _ in seen] == [sample.name for sample in samples]
    for (_, face), points, angles, matrix in zip(seen, landmarks, pose, rotation, strict=True):
        side = 120 / face.crop[0, 0]
        assert side == pytest.approx(2**0.5 * 80, rel=1e-5)  # sqrt(2) times the stated box
        assert (face.landmarks68 == points).all()
        assert angles == pytest.approx([face.pose.pitch, face.pose.yaw, face.pose.roll])
        assert (matrix == face.pose.matrix).all()
    assert np.isfinite(landmarks).all()
