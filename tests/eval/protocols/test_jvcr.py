from dataclasses import replace

import numpy as np
import pytest
import torch

from eval import metrics
from eval.predictions import Predictions
from eval.protocols import jvcr
from eval.protocols.frame import landmarks_as_scored
from synergy import voxels
from synergy.data.sample import FaceSample
from synergy.errors import UserError


def test_the_truth_overlaps_itself(samples: list[FaceSample], exact: Predictions) -> None:
    results = jvcr.score(samples, exact).scores
    assert list(results["depths"]) == ["d1", "d2", "d4", "d64"]
    for figures in results["depths"].values():
        assert figures["overlap"] > 99
        assert figures["mse"] < 1e-4
    assert results["within"] == {"1": 100, "2": 100, "3": 100}
    assert results["gte"] == pytest.approx(0, abs=1e-4)
    assert 0 < results["floor"]["voxels"] < 1
    assert results["floor"]["gte"] > 0


def test_a_shift_of_two_voxels(samples: list[FaceSample], exact: Predictions) -> None:
    sides = np.array([1.25 * np.ptp(sample.landmarks68[:, 0]) for sample in samples])
    points = exact.landmarks68 + (2.01 * sides / 64)[:, None, None].astype(np.float32) * np.float32([1, 0, 0])
    results = jvcr.score(samples, replace(exact, landmarks68=points)).scores
    assert results["within"] == {"1": 0, "2": 0, "3": 100}
    assert results["depths"]["d64"]["overlap"] < 60


def test_the_floor_is_that_of_real_volumes(samples: list[FaceSample], exact: Predictions) -> None:
    true = torch.from_numpy(landmarks_as_scored(samples[:2]))
    frame = voxels.volume_frame(true)
    exact_voxels = voxels.to_voxels(true, frame, 64)
    volumes = voxels.encode(exact_voxels.flatten(0, 1)[:, None], 64)  # one volume for each point
    peaks = np.stack(np.unravel_index(volumes.flatten(1).argmax(1).numpy(), volumes.shape[1:])[::-1], -1)
    points = voxels.from_voxels(torch.from_numpy(peaks).double().view(2, 71, 3), frame, 64)[:, :68].numpy()
    expected = metrics.gte(points, true.numpy()).mean()
    inside = ((exact_voxels > 3.5) & (exact_voxels < 59.5)).all(-1).double().mean()
    assert inside > 0.5
    given = jvcr.score(samples[:2], exact.select(exact.names[:2])).scores["floor"]
    assert given["gte"] == pytest.approx(expected, rel=0.05)


def test_flat_predictions_are_an_error(samples: list[FaceSample], exact: Predictions) -> None:
    with pytest.raises(UserError, match="are 2D"):
        jvcr.score(samples, replace(exact, landmarks68=exact.landmarks68[..., :2]))
