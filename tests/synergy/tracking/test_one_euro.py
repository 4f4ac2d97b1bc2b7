import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from synergy.tracking import OneEuro, RotationOneEuro

RATE = 30.0


def test_a_constant_stays_and_the_first_value_is_taken_as_it_is():
    smooth = OneEuro(min_cutoff=0.5, speed_gain=1.0)
    for i in range(5):
        assert smooth(np.array([3.0, -2.0]), seconds=0.0 if i == 0 else 1 / RATE).tolist() == [3.0, -2.0]


def test_it_is_the_published_filter_for_one_number():
    """The pseudocode of the paper (algorithm 1), written out independently."""
    min_cutoff, beta, derivative_cutoff = 0.7, 2.0, 1.0
    signal = np.cumsum(np.random.default_rng(0).normal(size=40))

    def alpha(cutoff):
        tau = 1 / (2 * np.pi * cutoff)
        return 1 / (1 + tau * RATE)

    expected = [signal[0]]
    derivative = 0.0
    for i in range(1, len(signal)):
        a = alpha(derivative_cutoff)
        derivative = a * (signal[i] - signal[i - 1]) * RATE + (1 - a) * derivative
        a = alpha(min_cutoff + beta * abs(derivative))
        expected.append(a * signal[i] + (1 - a) * expected[-1])

    smooth = OneEuro(min_cutoff, beta, derivative_cutoff)
    actual = [float(smooth(np.array([value]), 1 / RATE)[0]) for value in signal]
    np.testing.assert_allclose(actual, expected)


def test_the_result_does_not_depend_on_how_time_is_divided():
    def at_one_second(rate):
        smooth = OneEuro(min_cutoff=0.3, speed_gain=0.0)
        smooth(np.array([0.0]), 0.0)
        return [float(smooth(np.array([1.0]), 1 / rate)[0]) for _ in range(rate)][-1]

    assert at_one_second(30) == pytest.approx(at_one_second(120), abs=0.02)


def test_speed_raises_the_cutoff_of_all_components_that_share_it():
    still, moving = (OneEuro(min_cutoff=0.1, speed_gain=gain) for gain in (0.0, 10.0))
    ramp = np.outer(np.arange(60) / RATE, [1.0, 0.0])
    lag = [float(ramp[-1, 0] - [smooth(row, 1 / RATE) for row in ramp][-1][0]) for smooth in (still, moving)]
    assert lag[1] < 0.05 * lag[0]


def first_step(weight, min_cutoff=1.0, speed_gain=0.0):
    smooth = OneEuro(min_cutoff=min_cutoff, speed_gain=speed_gain)
    smooth(np.zeros(2), 0.0)
    return float(smooth(np.ones(2), 1 / RATE, weight)[0])


def test_a_value_of_weight_zero_changes_nothing_and_weights_reduce_the_cutoff():
    assert first_step(0.0) == 0
    assert first_step(0.5) == pytest.approx(first_step(1.0, min_cutoff=0.5))
    assert first_step(0.5) < first_step(1.0)


def test_a_fast_motion_is_followed_also_with_a_low_weight():
    """At a constant speed, half the weight at most doubles the lag, which is far below a frame."""
    lags = []
    for weight in (1.0, 0.5):
        smooth = OneEuro(min_cutoff=1.0, speed_gain=1.0)
        values = [float(smooth(np.full(1, 10.0 * i), 1 / RATE, weight)[0]) for i in range(60)]
        lags.append((10.0 * 59 - values[-1]) / 10.0)
    assert 0 <= lags[0] < lags[1] < 2.1 * lags[0]
    assert lags[1] < 0.1


def test_rotations_stay_rotations_and_do_not_wrap_around():
    smooth = RotationOneEuro(min_cutoff=1.0, speed_gain=5.0)
    rng = np.random.default_rng(0)
    angles = 170 + np.arange(40)
    noise = rng.normal(0, 0.5, 40)
    for angle in angles + noise:
        value = smooth(Rotation.from_euler("y", angle, degrees=True).as_matrix(), 1 / RATE)
        np.testing.assert_allclose(value @ value.T, np.eye(3), atol=1e-9)
    final = Rotation.from_euler("y", angles[-1], degrees=True)
    assert np.degrees((Rotation.from_matrix(value) * final.inv()).magnitude()) < 2


def test_rotation_noise_is_reduced_in_every_pose():
    rng = np.random.default_rng(1)
    for _ in range(5):
        base = Rotation.random(rng=rng)
        smooth = RotationOneEuro(min_cutoff=0.3, speed_gain=0.0)
        noisy = [Rotation.from_rotvec(rng.normal(0, 0.02, 3)) * base for _ in range(200)]
        smoothed = [Rotation.from_matrix(smooth(one.as_matrix(), 1 / RATE)) for one in noisy]
        before, after = (np.std([(one * base.inv()).as_rotvec() for one in r[50:]]) for r in (noisy, smoothed))
        assert after < before / 4
