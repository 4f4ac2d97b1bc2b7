"""Each metric against a case worked by hand and against an independent computation."""

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.spatial.transform import Rotation

from eval import metrics

RNG = np.random.default_rng(0)


def faces(n: int, dims: int = 3) -> np.ndarray:
    return RNG.uniform(20, 180, (n, 68, dims))


def rectangle(width: float, height: float) -> np.ndarray:
    """68 points (1, 68, 3): the two outer eye corners on the box's upper corners, everything else inside."""
    points = np.zeros((1, 68, 3))
    points[0, :, 0], points[0, :, 1] = width / 2, height / 2
    points[0, 36], points[0, 45] = (0, 0, 0), (width, 0, 0)
    points[0, 8] = (width / 2, height, 0)
    return points


def test_nme_of_a_shift_by_hand() -> None:
    # Box 40 x 90: sqrt(3600) = 60. A shift of (3, 4) is 5 px everywhere: 5 / 60 = 8.333 %.
    true = rectangle(40, 90)[..., :2]
    assert metrics.box_size(true) == pytest.approx([60])
    assert metrics.nme(true + [3, 4], true, metrics.box_size(true)) == pytest.approx([100 * 5 / 60])
    assert metrics.nme(true + [3, 4], true, metrics.inter_ocular(true)) == pytest.approx([100 * 5 / 40])


def test_nme_against_a_loop() -> None:
    true, predicted = faces(7, 2), faces(7, 2)
    true[2, 5] = np.nan
    expected = []
    for p, t in zip(predicted, true, strict=True):
        xs, ys = [q[0] for q in t if q[0] == q[0]], [q[1] for q in t if q[1] == q[1]]
        size = ((max(xs) - min(xs)) * (max(ys) - min(ys))) ** 0.5
        kept = [i for i in range(68) if t[i, 0] == t[i, 0]]
        expected.append(
            100 * sum(((p[i, 0] - t[i, 0]) ** 2 + (p[i, 1] - t[i, 1]) ** 2) ** 0.5 for i in kept) / len(kept) / size
        )
    assert metrics.nme(predicted, true, metrics.box_size(true)) == pytest.approx(expected)


def test_nme_without_a_known_point_is_nan() -> None:
    predicted, true = faces(2, 2), faces(2, 2)
    true[1] = np.nan
    assert np.isnan(metrics.nme(predicted, true, 1.0)).tolist() == [False, True]


def test_normalisers_by_hand() -> None:
    points = np.zeros((1, 68, 2))
    points[0, 36:42] = [[0, 0], [2, -1], [4, -1], [6, 0], [4, 1], [2, 1]]  # centre (3, 0)
    points[0, 42:48] = [[20, 4], [22, 3], [24, 3], [26, 4], [24, 5], [22, 5]]  # centre (23, 4)
    assert metrics.inter_ocular(points) == pytest.approx([np.hypot(26, 4)])
    assert metrics.inter_pupil(points) == pytest.approx([np.hypot(20, 4)])


@pytest.mark.parametrize(
    ("predicted", "true", "message"),
    [
        (np.zeros((1, 68, 2)), np.zeros((1, 67, 2)), "expected the same"),
        (np.zeros((68, 2)), np.zeros((68, 2)), "expected the same"),
        (np.full((1, 68, 2), np.nan), np.zeros((1, 68, 2)), "not finite"),
        (np.full((1, 68, 2), np.inf), np.zeros((1, 68, 2)), "not finite"),
    ],
)
def test_bad_points_are_one_line(predicted: np.ndarray, true: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        metrics.point_distances(predicted, true)


def test_empty_boxes_and_eyes_are_errors() -> None:
    with pytest.raises(ValueError, match="true box of sample 1 is 0"):
        metrics.box_size(np.stack([faces(1)[0], np.ones((68, 3))]))
    with pytest.raises(ValueError, match="distance of the eyes"):
        metrics.inter_ocular(np.ones((1, 68, 3)))


def test_gte_by_hand() -> None:
    # Depth is aligned by its mean, so a shift of (3, 4, 100) leaves 5 px; eyes 40 apart: 12.5 %; box 60: 8.33 %.
    true = rectangle(40, 90)
    moved = true + [3, 4, 100]
    assert metrics.gte(moved, true) == pytest.approx([12.5])
    assert metrics.nme3d(moved, true) == pytest.approx([100 * 5 / 60])
    # Depth errors of +2 and -2, half of the points each, have no mean to remove: 2 px of error.
    bumpy = true + np.where(np.arange(68) % 2, 2.0, -2.0)[None, :, None] * [0, 0, 1]
    assert metrics.gte(bumpy, true) == pytest.approx([100 * 2 / 40])


def test_gte_against_a_loop() -> None:
    true, predicted = faces(5), faces(5)
    for p, t, value in zip(predicted, true, metrics.gte(predicted, true), strict=True):
        gap = sum(t[:, 2]) / 68 - sum(p[:, 2]) / 68
        total = sum(((p[i] + [0, 0, gap] - t[i]) ** 2).sum() ** 0.5 for i in range(68))
        assert value == pytest.approx(100 * total / 68 / ((t[36] - t[45]) ** 2).sum() ** 0.5)


def test_reconstruction_error_ignores_a_similarity() -> None:
    true = faces(3)
    moved = 1.7 * true @ Rotation.random(rng=1).as_matrix().T + [5, -3, 9]
    assert metrics.reconstruction_error(moved, true, 50.0) == pytest.approx(0, abs=1e-9)
    mirrored = true * [-1, 1, 1]  # a reflection is not a rotation
    assert (metrics.reconstruction_error(mirrored, true, 50.0) > 1).all()


def test_reconstruction_error_against_scipy() -> None:
    predicted, true = faces(1)[0], faces(1)[0]
    a, b = predicted - predicted.mean(0), true - true.mean(0)
    rotated = Rotation.align_vectors(b, a)[0].apply(a)
    aligned = (b * rotated).sum() / (rotated**2).sum() * rotated  # the least-squares scale
    expected = 100 * np.linalg.norm(aligned - b, axis=1).mean() / 50
    assert metrics.reconstruction_error(predicted[None], true[None], 50.0) == pytest.approx([expected])


def test_dense_nme_ignores_depth_offset() -> None:
    true = RNG.normal(size=(1, 500, 3)) * 30
    assert metrics.dense_nme(true + [0, 0, 40], true, 60.0) == pytest.approx([0], abs=1e-12)
    assert metrics.dense_nme(true + [6, 0, 40], true, 60.0) == pytest.approx([10])


def test_pose_errors_are_at_most_180_degrees() -> None:
    assert metrics.pose_errors([[1, -2, 179]], [[-1, 3, -179]]).tolist() == [[2, 5, 2]]


def test_geodesic_error_by_hand_and_against_scipy() -> None:
    # For rotations about the same axis the geodesic error is the difference of the angles.
    assert metrics.geodesic_errors([[0, 50, 0]], [[0, 20, 0]]) == pytest.approx([30])
    predicted, true = RNG.uniform(-80, 80, (2, 20, 3))
    a, b = (Rotation.from_euler("XYZ", -angles, degrees=True) for angles in (predicted, true))
    assert metrics.geodesic_errors(predicted, true) == pytest.approx(np.degrees((a.inv() * b).magnitude()))


def test_pose_limit_is_99_degrees() -> None:
    assert metrics.pose_is_scored([[99, 0, 0], [0, -99.1, 0], [0, 0, 100]]).tolist() == [True, False, False]


def test_yaw_bins_by_hand() -> None:
    yaw = [0, -30, 30.01, 60, -60.5, 95]
    errors = [1, 3, 4, 8, 10, 20]
    binned = metrics.by_yaw(errors, yaw)
    assert binned.bins == (2, 6, 15)
    assert binned.counts == (2, 2, 2)
    assert binned.mean == pytest.approx(23 / 3)
    assert binned.std == pytest.approx(np.std([2, 6, 15]))
    assert binned.sample_mean == pytest.approx(46 / 6)


def test_empty_bins_and_unknown_errors_are_left_out() -> None:
    binned = metrics.by_yaw([1, np.nan, 3], [0, 10, 80])
    assert binned.counts == (1, 0, 1)
    assert np.isnan(binned.bins[1])
    assert binned.mean == binned.sample_mean == 2


def test_an_unknown_yaw_is_in_no_bin() -> None:
    binned = metrics.by_yaw([1, 5, 3], [0, np.nan, 80])
    assert binned.counts == (1, 0, 1)
    assert binned.mean == 2
    assert binned.sample_mean == 3


def test_ced_auc_and_failure_rate_by_hand() -> None:
    errors = [1, 2, 7, 9]
    assert metrics.ced(errors, [0, 1, 2.5, 7, 10]).tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert metrics.failure_rate(errors) == 0.25
    # Area of the steps: (6 + 5 + 0 + 0) / 7 / 4.
    assert metrics.auc(errors) == pytest.approx(11 / 28)


def test_auc_is_the_area_under_the_curve() -> None:
    errors = RNG.gamma(2, 2, 50)
    area, _ = quad(lambda e: float(metrics.ced(errors, [e])[0]), 0, 7, limit=500, points=np.sort(errors[errors < 7]))
    assert metrics.auc(errors) == pytest.approx(area / 7, abs=1e-6)


def test_no_errors_is_an_error() -> None:
    with pytest.raises(ValueError, match="no errors"):
        metrics.auc([np.nan])
