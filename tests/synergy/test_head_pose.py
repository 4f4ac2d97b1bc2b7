import numpy as np
import pytest
import torch
from scipy.optimize import least_squares
from scipy.spatial.transform import Rotation

from synergy import head_pose
from synergy.geometry import euler_to_matrix, matrix_to_euler
from synergy.head_pose import likely_angles


def matrices(angles_deg: np.ndarray) -> np.ndarray:
    return euler_to_matrix(torch.from_numpy(np.radians(np.asarray(angles_deg, np.float64)))).numpy()


def angle_deg(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.degrees((Rotation.from_matrix(a).inv() * Rotation.from_matrix(b)).magnitude())


def test_angles_are_exact_away_from_profile():
    angles = np.random.default_rng(0).uniform([-60, -44, -60], [60, 44, 60], (50, 3))
    np.testing.assert_allclose(np.degrees(likely_angles(matrices(angles))), angles, atol=1e-9)


def test_a_likely_profile_keeps_its_angles():
    angles = np.array([[-7.0, 70, -1], [-7, -70, -1], [-7, 88, -1], [-7, -88, -1]])
    np.testing.assert_allclose(np.degrees(likely_angles(matrices(angles))), angles, atol=0.3)


@pytest.mark.parametrize(("yaw", "ratio"), [(75.0, 0.95), (85.0, 0.5), (-75.0, 0.95), (-85.0, 0.5)])
def test_small_errors_of_the_rotation_no_longer_make_large_angles(yaw: float, ratio: float):
    """Profiles with natural pitch and roll, seen through rotations that are wrong by 1.5 degrees about random axes."""
    rng = np.random.default_rng(1)
    true = np.stack([rng.normal(-7, 8, 200), rng.normal(yaw, 3, 200), rng.normal(0, 8, 200)], 1)
    noise = Rotation.from_rotvec(np.radians(rng.normal(0, 1.5 / 3**0.5, (200, 3)))).as_matrix()
    seen = noise @ matrices(true)
    exact = np.degrees(matrix_to_euler(torch.from_numpy(seen)).numpy())
    likely = np.degrees(likely_angles(seen))
    wrap = lambda a: np.abs((a + 180) % 360 - 180)  # noqa: E731
    assert wrap(likely - true).mean() < ratio * wrap(exact - true).mean()
    assert angle_deg(matrices(likely), seen).mean() < 1.5


def test_the_minimum_is_that_of_scipy():
    rng = np.random.default_rng(2)
    rotation = matrices(rng.uniform([-40, 62, -40], [40, 80, 40], (10, 3)) * rng.choice([[1, 1, 1], [1, -1, 1]], 10))
    std, mean = np.radians(head_pose._STD_DEG), np.radians(head_pose._MEAN_DEG)
    for matrix, found in zip(rotation, likely_angles(rotation), strict=True):

        def residuals(e: np.ndarray, matrix: np.ndarray = matrix) -> np.ndarray:
            turn = Rotation.from_matrix(euler_to_matrix(torch.from_numpy(e)).numpy() @ matrix.T).as_rotvec()
            return np.concatenate([np.degrees(turn) / head_pose._NOISE_DEG, (e[[0, 2]] - mean) / std])

        best = least_squares(residuals, found + 0.1).x
        np.testing.assert_allclose(np.degrees(found), np.degrees(best), atol=0.05)


def test_no_faces_have_no_angles():
    assert likely_angles(np.empty((0, 3, 3))).shape == (0, 3)


def test_derivatives_of_the_rotation():
    angles = np.random.default_rng(3).uniform(-1.5, 1.5, (20, 3))
    matrix, derivative = head_pose._euler_with_derivatives(angles)
    np.testing.assert_allclose(matrix, euler_to_matrix(torch.from_numpy(angles)).numpy(), atol=1e-12)
    expected = torch.func.vmap(torch.func.jacfwd(euler_to_matrix))(torch.from_numpy(angles)).movedim(-1, 1)
    np.testing.assert_allclose(derivative, expected.numpy(), atol=1e-12)
