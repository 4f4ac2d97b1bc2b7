import numpy as np

from bfm_assets import open_face
from synergy.landmarks import FLIP68
from train.labels.order import affine_residual, order_warnings


def flat_faces(make_truth):
    return make_truth(30, yaw_deg=60).points[:, :68, :2].numpy() * [1, -1]


def test_right_order_gives_no_warning(make_truth):
    points = flat_faces(make_truth)
    points[:, :10] = np.nan
    assert order_warnings(points, open_face()) == []


def test_mirrored_points_are_named(make_truth):
    points = flat_faces(make_truth)
    points[:20, :, 0] *= -1
    (line,) = order_warnings(points, open_face())
    assert "of 30 faces' points look mirrored" in line
    points[:20] = points[:20][:, FLIP68]
    assert order_warnings(points, open_face()) == []


def test_shuffled_points_are_named(make_truth):
    points = flat_faces(make_truth)
    points = points[:, np.random.default_rng(0).permutation(68)]
    (line,) = order_warnings(points, open_face())
    assert line.startswith("30 of 30 faces' points do not look like a face")


def test_too_few_points_are_not_judged():
    residual, behind = affine_residual(np.full((2, 68, 2), np.nan), open_face().mean[:68])
    assert np.isnan(residual).all()
    assert not behind.any()
    assert order_warnings(np.full((2, 68, 2), np.nan), open_face()) == []
