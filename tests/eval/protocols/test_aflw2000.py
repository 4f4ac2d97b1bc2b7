from dataclasses import replace

import numpy as np
import pytest

from eval import metrics
from eval.predictions import Predictions
from eval.protocols import aflw2000
from synergy.data.sample import FaceSample
from synergy.errors import UserError


def moved(predictions: Predictions, shift: tuple[float, float, float]) -> Predictions:
    return replace(predictions, landmarks68=predictions.landmarks68 + np.float32(shift))


def test_the_truth_has_no_error(samples: list[FaceSample], exact: Predictions) -> None:
    again = exact.landmarks68[..., :2]
    results = aflw2000.score(samples, exact, again).scores
    assert results["nme2d"]["original"]["mean"] == pytest.approx(0, abs=1e-5)
    assert results["nme2d"]["reannotated"]["mean"] == pytest.approx(0, abs=1e-5)
    assert results["gte"] == pytest.approx(0, abs=1e-5)
    assert results["nme3d"] == pytest.approx(0, abs=1e-5)
    assert results["pose_mae"] == {"pitch": 0, "yaw": 0, "roll": 0, "mean": 0}
    assert results["geodesic"] == pytest.approx(0, abs=1e-5)
    assert results["counts"] == {"samples": 6, "bins": [2, 2, 2], "poses": 6}


def test_a_shift_has_its_analytic_error(samples: list[FaceSample], exact: Predictions) -> None:
    results = aflw2000.score(samples, moved(exact, (3, 4, 100))).scores
    sizes = np.array([np.sqrt(np.prod(np.ptp(sample.landmarks68[:, :2], 0))) for sample in samples])
    eyes = np.array([np.linalg.norm(sample.landmarks68[36] - sample.landmarks68[45]) for sample in samples])
    bins = (500 / sizes).reshape(3, 2).mean(1)
    original = results["nme2d"]["original"]
    assert original["bins"] == pytest.approx(bins, rel=1e-4)
    assert original["mean"] == pytest.approx(bins.mean(), rel=1e-4)
    assert original["std"] == pytest.approx(bins.std(), rel=1e-4)
    assert original["sample_mean"] == pytest.approx((500 / sizes).mean(), rel=1e-4)
    assert results["gte"] == pytest.approx((500 / eyes).mean(), rel=1e-4)
    assert results["nme3d"] == pytest.approx((500 / sizes).mean(), rel=1e-4)


def test_the_two_frames_differ_by_the_pixel(samples: list[FaceSample], exact: Predictions) -> None:
    results = aflw2000.score(samples, moved(exact, (-1, -1, 0))).scores["nme2d"]
    assert results["original_zero_based"]["mean"] == pytest.approx(0, abs=1e-5)
    assert results["original"]["mean"] > 1


def test_predictions_without_depth_or_pose_have_fewer_figures(samples: list[FaceSample], exact: Predictions) -> None:
    flat = Predictions(exact.names, exact.landmarks68[..., :2], None, "flat")
    result = aflw2000.score(samples, flat)
    assert set(result.scores) == {"counts", "nme2d"}
    assert result.pose_errors is None


def test_poses_beyond_99_degrees_are_not_scored(samples: list[FaceSample], exact: Predictions) -> None:
    far = replace(samples[0], pose_deg=np.array([0, 0, 120], np.float32))
    results = aflw2000.score([far, *samples[1:]], exact).scores
    assert results["counts"]["poses"] == 5
    assert results["pose_mae"]["mean"] == 0


def test_the_published_counts_are_asserted_on_a_full_set() -> None:
    pose = np.zeros((2000, 3))
    pose[1312:1695, 1], pose[1695:, 1] = 45, 75
    pose[:31, 0] = 120
    counts = {"samples": 2000, "bins": [1312, 383, 305]}
    aflw2000._check_full_set(counts, pose)
    with pytest.raises(UserError, match="not AFLW2000-3D as published"):
        aflw2000._check_full_set({**counts, "bins": [1311, 384, 305]}, pose)
    pose[31, 0] = 120
    with pytest.raises(UserError, match="1968 poses"):
        aflw2000._check_full_set(counts, pose)


def test_tables_name_ours_last(samples: list[FaceSample], exact: Predictions) -> None:
    for table in aflw2000.score(samples, exact).tables:
        assert all(len(row) == len(table.columns) for row in table.rows)
        if table.highlighted:
            assert table.rows[table.highlighted[0]][0] == "exact"


def test_rows_say_which_crops_and_which_pose(samples: list[FaceSample], exact: Predictions) -> None:
    ours = replace(exact, crops="ours", pose_from="true rotation")
    nme, _, pose, depth = aflw2000.score(samples, ours).tables
    for table in (nme, pose, depth):
        crops = table.columns.index("crops")
        assert table.rows[-1][crops] == "ours"
        assert {row[crops] for row in table.rows} == {"published", "ours", "-"}
    assert pose.rows[-1][pose.columns.index("pose from")] == "true rotation"
    assert "3DDFA's benchmark" in nme.note


def test_per_point_errors_average_to_the_headline(samples: list[FaceSample], exact: Predictions) -> None:
    result = aflw2000.score(samples, moved(exact, (2, 0, 0)))
    assert result.point_errors.mean(1) == pytest.approx(result.errors["original"])
    assert metrics.by_yaw(result.errors["original"], result.yaw_deg).counts == (2, 2, 2)


def test_samples_without_a_pose_are_an_error(samples: list[FaceSample], exact: Predictions) -> None:
    with pytest.raises(UserError, match="needs the true pose"):
        aflw2000.score([replace(samples[0], pose_deg=None), *samples[1:]], exact)
