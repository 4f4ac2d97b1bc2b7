import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from eval.video.measures import (
    count_switches,
    error_of_motion,
    jitter_degrees,
    jitter_pixels,
    lag,
    lag_of_motion,
    persons,
)


def test_jitter_of_independent_noise_is_twice_its_deviation():
    """Each step is the difference of two independent points, and has two coordinates."""
    points = np.random.default_rng(0).normal(0, 0.3, (400, 68, 3))
    assert jitter_pixels(points) == pytest.approx(0.3 * 2, rel=0.02)
    assert jitter_pixels(np.ones((5, 68, 3))) == 0


def test_jitter_of_rotations_is_the_angle_of_the_steps():
    rotations = Rotation.from_rotvec(np.outer([0, 2, 0, 2, 0], [0, 1, 0]), degrees=True).as_matrix()
    assert jitter_degrees(rotations) == pytest.approx(2)


@pytest.mark.parametrize("late", [-0.5, 0.0, 0.7, 2.0])
def test_lag_is_found_in_spite_of_an_offset_and_noise(late):
    t = np.arange(90)
    signal = np.stack([50 * np.sin(t / 12), 20 * np.cos(t / 12)], -1)
    delayed = np.stack([50 * np.sin((t - late) / 12), 20 * np.cos((t - late) / 12)], -1)
    noise = np.random.default_rng(0).normal(0, 0.2, delayed.shape)
    assert lag(delayed + noise + 3, signal) == pytest.approx(late, abs=0.06)


def test_lag_and_error_of_a_camera_move():
    points = np.random.default_rng(0).uniform(50, 150, (68, 2))
    motions = np.tile(np.eye(2, 3), (60, 1, 1))
    motions[:, 0, 2] = 30 * np.sin(np.arange(60) / 8)
    exact = points + motions[:, None, :, 2]
    assert lag_of_motion(exact, motions) == pytest.approx(0, abs=1e-9)
    assert error_of_motion(exact, motions) == pytest.approx(0, abs=1e-9)
    late = np.roll(exact, 1, 0)[1:]
    assert lag_of_motion(late, motions[1:]) == pytest.approx(1, abs=0.05)
    assert error_of_motion(late, motions[1:]) > 1


def test_people_have_the_id_of_the_nearest_face():
    nan = [np.nan, np.nan]
    centres = [[[0, 0], [200, 0]], [[10, 0], nan], [[20, 0], [180, 0]]]
    ids = [{1: [2, 0], 2: [199, 0]}, {1: [9, 0]}, {2: [22, 0], 1: [90, 0]}]
    assert persons(ids, centres) == [[1, 1, 2], [2, None]]
    assert [count_switches(row) for row in persons(ids, centres)] == [1, 0]


def test_the_face_of_one_person_is_not_that_of_another_one_nearby():
    centres = [[[100, 50], [139, 50]], [[100, 50], [np.nan, np.nan]]]
    assert persons([{1: [102, 50]}, {1: [102, 50]}], centres) == [[1, 1], [None]]
    assert persons([{1: [119, 50], 2: [81, 50]}, {}], centres) == [[2, None], [1]]
