import numpy as np
import pytest

from eval import metrics
from eval.accumulators import DepthError, LandmarkError, PoseError

RNG = np.random.default_rng(0)
TRUE, PREDICTED = RNG.uniform(20, 180, (2, 10, 68, 3))
YAW = RNG.uniform(-90, 90, 10)


def test_batches_add_up_to_the_whole() -> None:
    landmark, depth, pose = LandmarkError(), DepthError(), PoseError()
    angles = RNG.uniform(-60, 60, (2, 10, 3))
    for part in (slice(0, 3), slice(3, 10)):
        landmark.update(PREDICTED[part], TRUE[part], yaw_deg=YAW[part])
        depth.update(PREDICTED[part], TRUE[part])
        pose.update(angles[0, part], angles[1, part])
    errors = metrics.nme(PREDICTED[..., :2], TRUE[..., :2], metrics.box_size(TRUE))
    assert landmark.compute()["mean"] == pytest.approx(metrics.by_yaw(errors, YAW).mean)
    assert depth.compute()["gte"] == pytest.approx(metrics.gte(PREDICTED, TRUE).mean())
    assert pose.compute()["mean"] == pytest.approx(np.abs(angles[0] - angles[1]).mean())
    assert pose.compute()["count"] == 10


def test_without_yaw_there_is_a_plain_mean() -> None:
    landmark = LandmarkError(metrics.inter_ocular)
    errors = landmark.update(PREDICTED, TRUE)
    assert set(landmark.compute()) == {"mean", "median", "auc7", "failure7"}
    assert landmark.compute()["mean"] == pytest.approx(errors.mean())


def test_poses_beyond_99_degrees_are_left_out() -> None:
    pose = PoseError()
    pose.update([[0, 0, 0], [0, 0, 0]], [[0, 120, 0], [3, 0, 0]])
    assert pose.compute() == pytest.approx({"pitch": 3, "yaw": 0, "roll": 0, "mean": 1, "geodesic": 3, "count": 1})
