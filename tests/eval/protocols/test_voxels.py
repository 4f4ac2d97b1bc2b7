from dataclasses import replace

import numpy as np
import pytest
import torch

from eval import metrics, voxels
from eval.predictions import Predictions
from eval.protocols import voxels as protocol
from eval.protocols.frame import landmarks_as_scored
from synergy.data.sample import FaceSample
from synergy.errors import UserError


def test_the_truth_overlaps_itself(samples: list[FaceSample], exact: Predictions) -> None:
    results = protocol.score(samples, exact).results
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
    results = protocol.score(samples, replace(exact, landmarks68=points)).results
    assert results["within"] == {"1": 0, "2": 0, "3": 100}
    assert results["depths"]["d64"]["overlap"] < 60


def test_the_floor_is_that_of_real_volumes(samples: list[FaceSample], exact: Predictions) -> None:
    true = torch.from_numpy(landmarks_as_scored(samples[:2]))
    frame = voxels.frame_of(true)
    at = voxels.to_voxels(true, frame, 64)
    decoded = torch.stack([voxels.decode(voxels.encode_each(part[None], 64))[0] for part in at])
    points = voxels.from_voxels(decoded.double(), frame, 64)[:, :68].numpy()
    expected = metrics.gte(points, true.numpy()).mean()
    inside = ((at > 3.5) & (at < 59.5)).all(-1).double().mean()
    assert inside > 0.5
    given = protocol.score(samples[:2], exact.of(exact.names[:2])).results["floor"]
    assert given["gte"] == pytest.approx(expected, rel=0.05)


def test_flat_landmarks_are_an_error(samples: list[FaceSample], exact: Predictions) -> None:
    flat = [replace(sample, landmarks68=sample.landmarks68[:, :2]) for sample in samples]
    with pytest.raises(UserError, match="true landmarks with depth"):
        protocol.score(flat, exact)
    with pytest.raises(UserError, match="are 2D"):
        protocol.score(samples, replace(exact, landmarks68=exact.landmarks68[..., :2]))
