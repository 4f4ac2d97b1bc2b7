"""Calibration of predicted uncertainties in evaluations."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from eval.predictions import Predictions
from eval.protocols.landmarks2d import score_300w
from eval.uncertainty import add_uncertainty, rotation_errors
from synergy.data.reader import NO_IMAGE
from synergy.data.sample import FaceSample
from synergy.geometry import euler_to_matrix

N = 400
STD_DEG = 4.0


def matrices(pose_deg: NDArray[np.floating]) -> NDArray[np.float64]:
    import torch

    return euler_to_matrix(torch.from_numpy(np.radians(pose_deg.astype(np.float64)))).numpy()


@pytest.fixture
def samples() -> list[FaceSample]:
    rng = np.random.default_rng(0)
    return [
        FaceSample(
            f"{i}.jpg",
            NO_IMAGE,
            rng.uniform(0, 120, (68, 2)).astype(np.float32),
            np.full(68, 2, np.int8),
            pose_deg=rng.uniform(-60, 60, 3).astype(np.float32),
        )
        for i in range(N)
    ]


@pytest.fixture
def predictions(samples: list[FaceSample]) -> Predictions:
    """Predictions whose errors are Gaussian with the stated standard deviations."""
    rng = np.random.default_rng(1)
    std = rng.uniform(0.5, 4, (N, 68))
    points = np.stack([sample.landmarks68 for sample in samples])
    vectors = np.radians(STD_DEG) * rng.normal(size=(N, 3))
    true = Rotation.from_matrix(matrices(np.stack([sample.pose_deg for sample in samples])))
    rotation = (Rotation.from_rotvec(vectors).inv() * true).as_matrix()
    return Predictions(
        tuple(sample.name for sample in samples),
        (points + std[..., None] * rng.normal(size=points.shape)).astype(np.float32),
        rotation=rotation.astype(np.float32),
        landmarks68_std=std.astype(np.float32),
        rotation_covariance=np.tile(np.radians(STD_DEG) ** 2 * np.eye(3), (N, 1, 1)).astype(np.float32),
    )


def test_errors_of_the_stated_size_are_calibrated(samples: list[FaceSample], predictions: Predictions) -> None:
    result = add_uncertainty(score_300w(samples, predictions), predictions)
    found = result.scores["uncertainty"]
    assert found["landmarks"]["within"] == pytest.approx([39.3, 86.5], abs=1.5)
    assert found["landmarks"]["nominal"] == pytest.approx([39.35, 86.47], abs=0.01)
    assert found["rotation"]["within"] == pytest.approx([19.9, 73.9], abs=6)
    assert found["landmarks"]["mean_difference"] < 1
    assert [row[:2] for row in result.tables[-1].rows] == [("landmarks", str(68 * N)), ("rotation", str(N))]
    assert set(result.reliability) == {"landmarks", "rotation"}


def test_half_the_standard_deviation_is_overconfident(samples: list[FaceSample], predictions: Predictions) -> None:
    assert predictions.landmarks68_std is not None
    halved = replace(predictions, landmarks68_std=predictions.landmarks68_std / 2)
    within = add_uncertainty(score_300w(samples, halved), halved).scores["uncertainty"]["landmarks"]["within"]
    assert within == pytest.approx([100 * (1 - np.exp(-1 / 8)), 100 * (1 - np.exp(-1 / 2))], abs=1.5)


def test_without_uncertainties_nothing_is_added(samples: list[FaceSample], predictions: Predictions) -> None:
    plain = replace(predictions, landmarks68_std=None, rotation_covariance=None)
    result = score_300w(samples, plain)
    assert add_uncertainty(result, plain) is result


def test_samples_without_a_pose_have_no_rotation_error(samples: list[FaceSample], predictions: Predictions) -> None:
    assert predictions.rotation is not None
    samples[3] = replace(samples[3], pose_deg=None)
    errors = rotation_errors(predictions.rotation, samples)
    assert np.isnan(errors).all(1).nonzero()[0].tolist() == [3]
    unposed = [replace(sample, pose_deg=None) for sample in samples]
    scores = add_uncertainty(score_300w(unposed, predictions), predictions).scores["uncertainty"]
    assert set(scores) == {"landmarks"}


def test_uncertainties_survive_a_predictions_file(predictions: Predictions, tmp_path: Path) -> None:
    predictions.save(tmp_path / "p.npz")
    loaded = Predictions.load(tmp_path / "p.npz").select(predictions.names[5:9])
    assert loaded.landmarks68_std is not None
    np.testing.assert_array_equal(loaded.landmarks68_std, predictions.landmarks68_std[5:9])
    assert loaded.rotation_covariance is not None
    np.testing.assert_array_equal(loaded.rotation_covariance, predictions.rotation_covariance[5:9])


def test_the_report_shows_the_curves(samples: list[FaceSample], predictions: Predictions) -> None:
    from eval.report.charts import reliability_curves

    result = add_uncertainty(score_300w(samples, predictions), predictions)
    svg = reliability_curves(result.reliability)
    assert svg.startswith("<svg")
    assert "landmarks, mean difference" in svg
    assert "rotation, mean difference" in svg
