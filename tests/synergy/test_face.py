import dataclasses
import json

import numpy as np
import pytest

from synergy.demo import random_face


@pytest.fixture(scope="module")
def face():
    return random_face((10, -40, 20), seed=3)


def test_pose_is_what_it_was_made_with(face):
    assert (face.pose.pitch, face.pose.yaw, face.pose.roll) == pytest.approx((10, -40, 20), abs=1e-3)
    np.testing.assert_allclose(face.pose.matrix @ face.pose.matrix.T, np.eye(3), atol=1e-6)


def test_landmarks_are_vertices_of_the_mesh(face):
    np.testing.assert_allclose(face.vertices()[face.morphable_model.landmarks], face.landmarks68, atol=1e-3)
    assert abs(face.landmarks68[:, 2].mean()) < 1e-3


def test_vertices_follow_the_crop_back_to_the_image(face):
    """The same crop taken from a place 100 px to the right in an image twice as large."""
    moved = dataclasses.replace(face, crop=np.array([[0.5, 0, -50], [0, 0.5, 0]]))
    expected = face.vertices() * 2 + np.array([100, 0, 0])
    np.testing.assert_allclose(moved.vertices(), expected, atol=1e-2)


def test_a_landmark_model_has_no_mesh(face):
    sparse = dataclasses.replace(face, morphable_model=face.morphable_model.landmark_model())
    with pytest.raises(ValueError, match="landmark vertices only"):
        sparse.vertices()


def test_dictionary_survives_json(face):
    read = json.loads(json.dumps(face.to_dict()))
    np.testing.assert_allclose(read["landmarks68"], face.landmarks68, atol=1e-3)
    assert read["pose_deg"]["yaw"] == pytest.approx(-40, abs=1e-2)
    assert len(read["params"]) == len(face.params)
