from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from synergy.crop import landmark_box
from synergy.demo import random_face
from synergy.face import pose_from_params
from synergy.geometry import compose_pose, decompose_pose, transform_pose
from synergy.parameters import join_parameters, split_parameters
from synergy.tracking.smoothing import FaceSmoother

RATE = 30


def disturb(face, rng, std=0.001):
    """Return the face with noise in pose, coefficients and landmarks."""
    pose, shape, expression = split_parameters(face.params, face.morphable_model.n_shape)
    scale, rotation, translation = decompose_pose(torch.from_numpy(pose))
    turn = Rotation.from_rotvec(rng.normal(0, std, 3)).as_matrix()
    pose = compose_pose(
        scale * (1 + rng.normal(0, std)),
        torch.from_numpy(turn).float() @ rotation,
        translation + torch.from_numpy(rng.normal(0, std * 100, 3)).float(),
    ).numpy()
    shape = shape + rng.normal(0, 0.03, len(shape)) * face.morphable_model.shape_std
    params = join_parameters(pose, shape, expression + rng.normal(0, std, len(expression))).astype(np.float32)
    noisy = replace(face, params=params, pose=pose_from_params(params, face.crop))
    mesh = noisy.vertices()[face.morphable_model.landmarks]
    points = mesh + rng.normal(0, std * 50, (68, 3))
    points[:, 2] -= points[:, 2].mean()
    return replace(noisy, box=landmark_box(points), landmarks68=points.astype(np.float32))


@pytest.fixture(scope="module")
def clip():
    """200 noisy frames of a face that does not move, smoothed."""
    rng, face, smoother = np.random.default_rng(0), random_face((5, 20, -10), seed=3), FaceSmoother()
    noisy = [disturb(face, rng) for _ in range(200)]
    return face, noisy, [smoother(one, 1 / RATE) for one in noisy]


def jitter(faces, value):
    values = np.array([value(face) for face in faces[60:]])
    return np.diff(values, axis=0).std()


VALUES = {
    "landmarks": lambda face: face.landmarks68,
    "mesh": lambda face: face.vertices()[::50],
    "yaw": lambda face: face.pose.yaw,
    "pitch": lambda face: face.pose.pitch,
    "roll": lambda face: face.pose.roll,
    "box": lambda face: face.box,
    "scale": lambda face: face.pose.scale,
    "parameters": lambda face: face.params,
}


@pytest.mark.parametrize("name", VALUES)
def test_jitter_of_a_face_at_rest_is_five_times_lower(clip, name):
    _, noisy, smoothed = clip
    assert jitter(smoothed, VALUES[name]) < jitter(noisy, VALUES[name]) / 5


def test_the_smoothed_face_is_the_true_one(clip):
    face, _, smoothed = clip
    last = smoothed[-1]
    np.testing.assert_allclose(last.landmarks68[:, :2], face.landmarks68[:, :2], atol=0.7)
    np.testing.assert_allclose(last.pose.matrix, face.pose.matrix, atol=0.01)
    assert np.abs(last.vertices() - face.vertices()).mean() < 1


def test_parts_of_the_smoothed_face_agree(clip):
    _, _, smoothed = clip
    for face in smoothed[::40]:
        np.testing.assert_allclose(face.box, landmark_box(face.landmarks68), atol=1e-3)
        np.testing.assert_allclose(face.pose.matrix, pose_from_params(face.params, face.crop).matrix, atol=1e-5)
        assert abs(face.landmarks68[:, 2].mean()) < 1e-3
        mesh = face.vertices()[face.morphable_model.landmarks]
        np.testing.assert_allclose(mesh.mean(0), face.landmarks68.mean(0), atol=0.01)


def test_the_identity_shape_is_the_mean_of_the_track(clip):
    _, noisy, smoothed = clip
    n_shape = noisy[0].morphable_model.n_shape
    shapes = np.array([split_parameters(face.params, n_shape)[1] for face in noisy])
    for i in (0, 9, 199):
        actual = split_parameters(smoothed[i].params, n_shape)[1]
        np.testing.assert_allclose(actual, shapes[: i + 1].mean(0), atol=1e-5)


def test_the_first_face_is_not_changed_and_a_restart_takes_the_next_one(clip):
    _, noisy, _ = clip
    smoother = FaceSmoother()
    np.testing.assert_allclose(smoother(noisy[0], 0.0).landmarks68, noisy[0].landmarks68, atol=1e-3)
    smoother(noisy[1], 1 / RATE)
    smoother.restart()
    np.testing.assert_allclose(smoother(noisy[2], 1 / RATE).landmarks68, noisy[2].landmarks68, atol=1e-3)


def test_uncertain_frames_have_less_weight(clip):
    face, _, _ = clip
    moved = replace(face, landmarks68=face.landmarks68 + np.array([5, 0, 0], np.float32))
    steps = []
    for std, confidence in ((1.0, 0.9), (4.0, 0.9), (1.0, 0.6)):
        smoother = FaceSmoother()
        for _ in range(10):
            smoother(replace(face, landmarks68_std=np.full(68, 1, np.float32), confidence=0.9), 1 / RATE)
        last = smoother(replace(moved, landmarks68_std=np.full(68, std, np.float32), confidence=confidence), 1 / RATE)
        steps.append(float((last.landmarks68 - face.landmarks68)[:, 0].mean()))
    usual, uncertain, doubtful = steps
    assert 0 < uncertain < usual / 4
    assert uncertain < doubtful < usual


@pytest.mark.parametrize("degrees", [0, 90, 180, -40])
def test_a_face_in_a_rotated_crop_is_the_same_face(clip, degrees):
    face, _, _ = clip
    angle = np.radians(degrees)
    linear = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    crop = np.concatenate([linear, [[10.0], [20.0]]], 1)
    pose, shape, expression = split_parameters(face.params, face.morphable_model.n_shape)
    turned = transform_pose(torch.from_numpy(pose[None]), torch.from_numpy(crop[None]).float(), face.crop_size)[0]
    params = join_parameters(turned.numpy(), shape, expression).astype(np.float32)
    rotated = replace(face, params=params, crop=crop, pose=pose_from_params(params, crop))
    np.testing.assert_allclose(rotated.vertices(), face.vertices(), atol=0.02)
    smooth = FaceSmoother()(rotated, 0.0)
    np.testing.assert_allclose(smooth.landmarks68, face.landmarks68, atol=0.02)
    np.testing.assert_allclose(smooth.pose.matrix, face.pose.matrix, atol=1e-4)
    np.testing.assert_allclose(smooth.vertices(), face.vertices(), atol=0.05)
