import numpy as np

from bfm_assets import open_face
from synergy.landmarks import CONTOURS, FLIP68, INNER51, OUTER_EYE_CORNERS


def test_flipping_twice_is_nothing_and_keeps_the_midline():
    np.testing.assert_array_equal(FLIP68[FLIP68], np.arange(68))
    midline = [8, 27, 28, 29, 30, 33, 51, 57, 62, 66]
    np.testing.assert_array_equal(np.flatnonzero(np.arange(68) == FLIP68), midline)


def test_a_symmetric_face_is_its_own_mirror_image():
    points = open_face().mean[open_face().landmarks]
    np.testing.assert_allclose(points[FLIP68] * [-1, 1, 1], points, atol=1e-3)


def test_groups_partition_the_points():
    np.testing.assert_array_equal(INNER51, np.setdiff1d(np.arange(68), np.arange(*CONTOURS["jaw"][:2])))
    assert sorted(n for first, last, _ in CONTOURS.values() for n in range(first, last)) == list(range(68))
    assert [n + 1 for n in OUTER_EYE_CORNERS] == [37, 46]
