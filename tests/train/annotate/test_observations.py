import numpy as np
import torch

from bfm_assets import open_face
from synergy.landmarks import FLIP68
from train.annotate.observations import (
    AFLW21,
    N_OBSERVED,
    affine_residual,
    observation_matrix,
    point_order_warnings,
)


def test_every_observed_point_is_a_mean_of_landmarks():
    matrix = observation_matrix()
    assert matrix.shape == (N_OBSERVED, 68)
    torch.testing.assert_close(matrix.sum(1), torch.ones(N_OBSERVED, dtype=torch.float64))
    assert torch.equal(matrix[:68], torch.eye(68, dtype=torch.float64))


def test_aflws_points_are_symmetric():
    """Each AFLW point or its mirror image stands for the mirrored landmarks of another one."""
    mirrored = {frozenset(int(FLIP68[i]) for i in indices) for indices in AFLW21}
    assert mirrored == set(map(frozenset, AFLW21))


def flat_faces(make_truth):
    return make_truth(30, yaw_deg=60).points[:, :68, :2].numpy()


def test_right_point_order_gives_no_warning(make_truth):
    points = flat_faces(make_truth)
    points[:, :10] = np.nan
    assert point_order_warnings(points, open_face()) == []


def test_mirrored_points_are_named(make_truth):
    points = flat_faces(make_truth)
    points[:20, :, 0] *= -1
    (line,) = point_order_warnings(points, open_face())
    assert "of 30 faces look mirrored" in line
    points[:20] = points[:20][:, FLIP68]
    assert point_order_warnings(points, open_face()) == []


def test_shuffled_points_are_named(make_truth):
    points = flat_faces(make_truth)
    points = points[:, np.random.default_rng(0).permutation(68)]
    (line,) = point_order_warnings(points, open_face())
    assert line.startswith("the points of 30 of 30 faces do not look like a face")


def test_too_few_points_are_not_judged():
    residual, behind = affine_residual(np.full((2, 68, 2), np.nan), open_face().mean[:68])
    assert np.isnan(residual).all()
    assert not behind.any()
    assert point_order_warnings(np.full((2, 68, 2), np.nan), open_face()) == []
