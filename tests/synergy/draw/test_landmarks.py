import dataclasses

import numpy as np

from synergy.demo import random_face
from synergy.draw import draw_contours, draw_points, overlay, uncertain_points
from synergy.landmarks import CONTOURS
from tests.synergy.draw.pictures import changed


def test_points_are_drawn_where_they_are_and_nowhere_else(grey):
    points = np.array([[30.0, 40.0], [100.5, 60.25], [200.0, 210.0]])
    picture = draw_points(grey, points, colour=(255, 0, 0), radius=2)
    y, x = np.nonzero(changed(picture, grey))
    distances = np.linalg.norm(np.stack([x, y], 1)[:, None] - points, axis=-1)
    assert distances.min(1).max() < 4
    # The weighted centre of each disc is its point, to a tenth of a pixel or so.
    weight = picture[y, x, 0].astype(float) - 90
    for i, point in enumerate(points):
        mine = distances.argmin(1) == i
        centre = (np.stack([x, y], 1)[mine] * weight[mine, None]).sum(0) / weight[mine].sum()
        np.testing.assert_allclose(centre, point, atol=0.2)


def test_points_outside_the_image_are_no_error(grey):
    np.testing.assert_array_equal(draw_points(grey, np.array([[-50.0, 10.0], [999.0, 999.0]]), radius=2), grey)


def test_contours_pass_through_their_landmarks(face, grey):
    picture = changed(draw_contours(grey, face.landmarks68), grey)
    x, y = np.rint(face.landmarks68[:, :2]).astype(int).T
    assert picture[y, x].all()
    assert {n for first, last, _ in CONTOURS.values() for n in range(first, last)} == set(range(68))


def test_hidden_and_uncertain_points_are_faint(grey):
    frontal, profile = random_face((0, 0, 0), seed=0), random_face((0, 60, 0), seed=0)
    assert not uncertain_points(frontal)[17:].any()
    # Positive yaw turns the nose to the image's left, so the side of the first jaw points is hidden.
    hidden = uncertain_points(profile)
    assert hidden[:4].all()
    assert not hidden[10:17].any()
    std = np.zeros(68, np.float32)
    std[30] = np.ptp(frontal.landmarks68[:, 1]) * 0.3
    uncertain = dataclasses.replace(frontal, landmarks68_std=std)
    assert uncertain_points(uncertain)[30]
    x, y = np.rint(frontal.landmarks68[40, :2]).astype(int)
    full = overlay(grey, [frontal])
    all_faint = dataclasses.replace(frontal, landmarks68_std=np.full(68, 1e3, np.float32))
    faint = overlay(grey, [all_faint])
    change = np.abs(full.astype(int) - grey)[y, x].max(), np.abs(faint.astype(int) - grey)[y, x].max()
    assert 0 < change[1] < 0.5 * change[0]
    np.testing.assert_array_equal(overlay(grey, [dataclasses.replace(frontal, landmarks68_std=0 * std)]), full)
