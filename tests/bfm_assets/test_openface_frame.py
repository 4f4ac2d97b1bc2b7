import numpy as np

from bfm_assets.openface.frame import TILT_DEG, to_designed, to_shipped


def test_a_pure_turn_about_the_horizontal_axis():
    points = np.random.default_rng(0).normal(size=(5, 7, 3))
    np.testing.assert_allclose(to_designed(to_shipped(points)), points, atol=1e-12)
    np.testing.assert_allclose(to_shipped(points)[..., 0], points[..., 0])
    np.testing.assert_allclose(np.linalg.norm(to_shipped(points), axis=-1), np.linalg.norm(points, axis=-1))
    y, z = to_shipped(np.array([0.0, 0.0, 1.0]))[1:]
    np.testing.assert_allclose(np.degrees(np.arctan2(y, z)), -TILT_DEG)
