from dataclasses import replace

import numpy as np
import pytest

from eval.predictions import Predictions
from eval.protocols import w300lp
from synergy.data.sample import FaceSample
from synergy.errors import UserError


@pytest.fixture
def fitted(samples: list[FaceSample]) -> list[FaceSample]:
    return [replace(sample, source="300w-lp") for sample in samples]


@pytest.fixture
def perfect(fitted: list[FaceSample]) -> Predictions:
    points = np.stack([sample.landmarks68 for sample in fitted])
    return Predictions(tuple(sample.name for sample in fitted), points, np.stack([s.pose_deg for s in fitted]), "x")


def test_the_frame_is_the_samples_own(fitted: list[FaceSample], perfect: Predictions) -> None:
    results = w300lp.score(fitted, perfect).scores
    assert results["nme2d"]["all68"]["mean"] == pytest.approx(0, abs=1e-6)
    assert results["gte"] == pytest.approx(0, abs=1e-5)
    assert results["pose_mae"]["mean"] == 0
    assert results["counts"] == {"samples": 6, "bins": [2, 2, 2]}


def test_flat_labels_have_no_depth_figures(fitted: list[FaceSample], perfect: Predictions) -> None:
    flat = [replace(sample, landmarks68=sample.landmarks68[:, :2]) for sample in fitted]
    assert "gte" not in w300lp.score(flat, perfect).scores


def test_poses_are_needed(fitted: list[FaceSample], perfect: Predictions) -> None:
    with pytest.raises(UserError, match="needs the true pose"):
        w300lp.score([replace(sample, pose_deg=None) for sample in fitted], perfect)
