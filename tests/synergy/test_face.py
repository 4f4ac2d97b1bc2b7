import dataclasses
import json
from importlib.resources import files

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from synergy.crop import invert_affine, transform_points, warp
from synergy.demo import random_face
from synergy.face import Face, nose_direction, pose_from_params, resize_face
from synergy.geometry import euler_to_matrix, matrix_to_euler
from synergy.images import read_image
from synergy.parameters import join_parameters, split_parameters
from synergy.predictor import FacePredictor


@pytest.fixture(scope="module")
def face():
    return random_face((10, -40, 20), seed=3)


def test_pose_is_what_it_was_made_with(face):
    assert (face.pose.pitch, face.pose.yaw, face.pose.roll) == pytest.approx((10, -40, 20), abs=1e-3)
    np.testing.assert_allclose(face.pose.matrix @ face.pose.matrix.T, np.eye(3), atol=1e-6)


@pytest.fixture(scope="module")
def photo():
    """A public-domain photo of one person (Eileen Collins, NASA), which scikit-image carries."""
    return read_image(str(files("skimage") / "data" / "astronaut.png"))


def face_of(output, affine, net):
    """The face of a network's own parameters, before they follow the refined landmarks."""
    params = output.params[0].numpy()
    return Face(
        box=np.zeros(4, np.float32),
        score=1.0,
        landmarks68=transform_points(invert_affine(affine), output.landmarks[0].numpy()).astype(np.float32),
        pose=pose_from_params(params, affine),
        params=params,
        crop=affine,
        crop_size=net.size,
        model_id=net.model_id,
        morphable_model=net.morphable_model,
    )


def test_the_mesh_passes_through_the_coarse_landmarks_of_a_real_photo(photo):
    """The pose that places the mesh is the one that places the network's landmarks: a rotation times a scale."""
    predictor = FacePredictor()
    (face,) = predictor(photo)
    crop = torch.from_numpy(warp(photo, face.crop, face.crop_size)).permute(2, 0, 1)[None]
    with torch.inference_mode():
        output = predictor.net(crop)
    own = face_of(output, face.crop, predictor.net)
    coarse = transform_points(invert_affine(face.crop), output.coarse[0].numpy())
    np.testing.assert_allclose(own.vertices()[own.morphable_model.landmarks], coarse, atol=1e-3)
    # The network's raw pose is not a rotation: with it the mesh would miss its landmarks.
    raw = dataclasses.replace(own, params=predictor.net.dewhiten(output.whitened)[0].numpy())
    assert np.abs(raw.vertices()[own.morphable_model.landmarks] - coarse).max() > 0.1


@pytest.mark.parametrize("mirror", [False, True])
def test_mesh_pose_and_landmarks_of_a_real_photo_belong_together(photo, mirror):
    predictor = FacePredictor(mirror=mirror)
    (face,) = predictor(photo)
    mesh = face.vertices()[face.morphable_model.landmarks]
    # The pose that is reported places the mesh.
    points = face.morphable_model.vertices(*split_parameters(face.params, face.morphable_model.n_shape)[1:])
    placed = face.pose.scale * points[face.morphable_model.landmarks] @ face.pose.matrix.T
    shape_in_image = (mesh - mesh.mean(0)) * [1, -1, 1]
    np.testing.assert_allclose(placed - placed.mean(0), shape_in_image, atol=1e-3)
    # The mesh is nearer to the refined landmarks than the network's own parameters are.
    crop = torch.from_numpy(warp(photo, face.crop, face.crop_size)).permute(2, 0, 1)[None]
    with torch.inference_mode():
        own = face_of(predictor.net(crop), face.crop, predictor.net)
    before = np.linalg.norm(own.vertices()[own.morphable_model.landmarks] - own.landmarks68, axis=1).mean()
    after = np.linalg.norm(mesh - face.landmarks68, axis=1).mean()
    assert after < 0.9 * before
    # The mesh is placed by least squares, so its landmarks have the mean of the refined ones, whatever the weights.
    np.testing.assert_allclose(mesh.mean(0)[:2], face.landmarks68.mean(0)[:2], atol=1e-3)


def test_the_pose_in_a_crop_that_is_upside_down(face):
    """A crop that is rotated by exactly 180 degrees has the pose of one that is rotated by a little less."""
    exact, almost = (pose_from_params(face.params, rotated_crop(degrees)) for degrees in (180, 179.999))
    np.testing.assert_allclose(exact.matrix, almost.matrix, atol=1e-4)
    assert (exact.pitch, exact.yaw, exact.roll) == pytest.approx((almost.pitch, almost.yaw, almost.roll), abs=0.01)
    np.testing.assert_allclose(exact.matrix, np.diag([-1, -1, 1]) @ face.pose.matrix, atol=1e-6)


@pytest.mark.parametrize("degrees", [-90, -30, 0, 45, 180])
def test_the_pose_in_a_rotated_crop_places_the_mesh(face, degrees):
    crop = 1.5 * rotated_crop(degrees)
    pose = pose_from_params(face.params, crop)
    mesh = dataclasses.replace(face, crop=crop).vertices()
    _, shape, expression = split_parameters(face.params, face.morphable_model.n_shape)
    placed = pose.scale * face.morphable_model.vertices(shape, expression) @ pose.matrix.T * [1, -1, 1]
    np.testing.assert_allclose(placed - placed.mean(0), mesh - mesh.mean(0), atol=1e-3)
    angles = torch.tensor([pose.pitch, pose.yaw, pose.roll], dtype=torch.float64).deg2rad()
    np.testing.assert_allclose(euler_to_matrix(angles), pose.matrix, atol=1e-3)


def rotated_crop(degrees):
    """The map to a crop that is rotated in the image plane, without rounding errors at 180 degrees."""
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees)) if degrees % 180 else 0.0
    return np.array([[cos, -sin, 100], [sin, cos, 100]])


def test_vertices_follow_the_crop_back_to_the_image(face):
    """The same crop taken from a place 100 px to the right in an image twice as large."""
    moved = dataclasses.replace(face, crop=np.array([[0.5, 0, -50], [0, 0.5, 0]]))
    expected = face.vertices() * 2 + np.array([100, 0, 0])
    np.testing.assert_allclose(moved.vertices(), expected, atol=1e-2)


def test_a_landmark_model_has_no_mesh(face):
    sparse = dataclasses.replace(face, morphable_model=face.morphable_model.landmark_model())
    with pytest.raises(ValueError, match="landmark vertices only"):
        sparse.vertices()


def test_the_neutral_mesh_has_the_shape_and_the_pose_but_no_expression(face):
    model = face.morphable_model
    pose, shape, expression = split_parameters(face.params, model.n_shape)
    other = dataclasses.replace(face, params=join_parameters(pose, shape, np.ones_like(expression)))
    neutral = face.vertices(neutral=True)
    np.testing.assert_array_equal(other.vertices(neutral=True), neutral)
    assert np.abs(neutral - face.vertices()).max() > 1
    in_model_space = (neutral - neutral.mean(0)) * [1, -1, 1] @ face.pose.matrix / face.pose.scale
    expected = model.vertices(shape, np.zeros(model.n_expression))
    np.testing.assert_allclose(in_model_space, expected - expected.mean(0), atol=1e-3)


def test_dictionary_survives_json(face):
    more = {"landmarks68_std": np.linspace(1, 2, 68, dtype=np.float32), "confidence": 0.25, "track_id": 7}
    more["rotation_covariance"] = np.diag([0.1, 0.2, 0.3]).astype(np.float32)
    face = dataclasses.replace(face, **more)
    read = json.loads(json.dumps(face.to_dict()))
    np.testing.assert_allclose(read["landmarks68"], face.landmarks68, atol=1e-3)
    assert read["pose_deg"]["yaw"] == pytest.approx(-40, abs=1e-2)
    assert len(read["params"]) == len(face.params)
    back = Face.from_dict(read)
    for field in dataclasses.fields(Face):
        if field.name not in ("pose", "model_id", "morphable_model"):
            np.testing.assert_allclose(getattr(back, field.name), getattr(face, field.name), rtol=1e-5, atol=1e-3)
    np.testing.assert_allclose(back.vertices(), face.vertices(), atol=1e-2)
    np.testing.assert_allclose(back.pose.matrix, face.pose.matrix, atol=1e-6)
    for name in ("pitch", "yaw", "roll", "scale"):
        assert getattr(back.pose, name) == pytest.approx(getattr(face.pose, name), abs=1e-3)
    assert (back.model_id, back.morphable_model) == (face.model_id, face.morphable_model)


ANGLES = [(p, y, r) for p in (-60, 0, 35) for y in (-120, -90, -30, 0, 60, 89.9) for r in (-75, 0, 20)]


def rotation(pitch, yaw, roll):
    angles = np.radians([pitch, yaw, roll])
    return Rotation.from_euler("XYZ", -angles).as_matrix()


@pytest.mark.parametrize("angles", ANGLES)
def test_direction_follows_rotations_of_the_head_and_of_the_image(angles):
    matrix = rotation(*angles)
    azimuth, elevation = nose_direction(matrix)
    # Roll about the nose changes nothing.
    np.testing.assert_allclose(nose_direction(rotation(*angles[:2], 50)), [azimuth, elevation], atol=1e-9)
    # A person who rotates on a chair: the azimuth grows by the angle.
    later = nose_direction(rotation(0, 25, 0) @ matrix)
    assert (later[0] - azimuth - 25) % 360 == pytest.approx(0, abs=1e-6) or (later[0] - azimuth - 25) % 360 > 359.99
    assert later[1] == pytest.approx(elevation)
    # The mirror image looks to the other side. Mirroring of image and model is diag(-1, 1, 1) R diag(-1, 1, 1).
    mirror = np.diag([-1.0, 1, 1])
    np.testing.assert_allclose(nose_direction(mirror @ matrix @ mirror), [-azimuth, elevation], atol=1e-9)
    # The direction as a vector is the image of the model's z axis.
    a, e = np.radians([azimuth, elevation])
    vector = [-np.sin(a) * np.cos(e), np.sin(e), np.cos(a) * np.cos(e)]
    np.testing.assert_allclose(vector, matrix @ [0, 0, 1], atol=1e-12)


@pytest.mark.parametrize("angle", [-89, -30, 0, 12, 89])
def test_direction_is_yaw_without_pitch_and_pitch_without_yaw(angle):
    for roll in (0, 15):
        np.testing.assert_allclose(nose_direction(rotation(0, angle, roll)), [angle, 0], atol=1e-9)
        np.testing.assert_allclose(nose_direction(rotation(angle, 0, roll)), [0, angle], atol=1e-9)


GIMBAL_LOCK = [
    # Euler angles, azimuth, elevation; pitch and roll of each profile cannot be told apart
    ((0, 90, 0), 90, 0),
    ((-70, 90, -70), 90, 0),
    ((40, -90, -40), -90, 0),
    ((-77, 67, -73), 84.546, -22.378),
    ((0, 180, 0), 180, 0),
]


@pytest.mark.parametrize(("angles", "azimuth", "elevation"), GIMBAL_LOCK)
def test_direction_in_gimbal_lock(angles, azimuth, elevation):
    measured = nose_direction(rotation(*angles))
    np.testing.assert_allclose(np.abs(measured[0]), abs(azimuth), atol=0.01)
    if abs(azimuth) < 180:
        assert np.sign(measured[0]) == np.sign(azimuth)
    assert measured[1] == pytest.approx(elevation, abs=0.01)


def test_a_small_error_in_profile_changes_the_direction_a_little_and_pitch_a_lot():
    rng = np.random.default_rng(0)
    pitch, direction = [], []
    for _ in range(200):
        error = Rotation.from_rotvec(np.radians(rng.normal(size=3)))
        matrix = error.as_matrix() @ rotation(-3, 89, 2)
        pitch.append(np.degrees(matrix_to_euler(torch.from_numpy(matrix))[0]).item())
        direction.append(nose_direction(matrix))
    assert np.std(pitch) > 20
    assert np.std(direction, axis=0).max() < 1.5


def test_direction_is_in_the_face_and_its_dictionary(face):
    azimuth, elevation = face.direction
    assert face.direction == (face.direction.azimuth, face.direction.elevation)
    np.testing.assert_allclose(nose_direction(face.pose.matrix), [azimuth, elevation])
    assert face.to_dict()["direction_deg"] == {"azimuth": round(azimuth, 3), "elevation": round(elevation, 3)}
    # Yaw -40: the nose points to the image's right; pitch 10: up.
    assert azimuth < -35
    assert elevation > 5


def test_the_nose_of_the_mesh_is_where_the_direction_points(face):
    """The tip of the nose lies in front of the middle of the ears, in the direction of the nose."""
    model = face.morphable_model
    ends = model.mean[model.landmarks[[0, 16]]].mean(0), model.mean[model.landmarks[30]]
    forward = face.pose.matrix @ (ends[1] - ends[0])
    azimuth = np.degrees(np.arctan2(-forward[0], forward[2]))
    assert azimuth == pytest.approx(face.direction.azimuth, abs=10)


def test_a_resized_face_is_the_face_of_the_resized_image(face):
    face = dataclasses.replace(face, landmarks68_std=np.full(68, 2, np.float32))
    small = resize_face(face, 0.5)
    # The centre of pixel 0 of the small image lies between pixels 0 and 1 of the large one.
    np.testing.assert_allclose(small.landmarks68[:, :2], (face.landmarks68[:, :2] + 0.5) / 2 - 0.5, atol=1e-4)
    np.testing.assert_allclose(small.vertices()[small.morphable_model.landmarks], small.landmarks68, atol=1e-3)
    np.testing.assert_allclose(small.box, (face.box + 0.5) / 2 - 0.5)
    np.testing.assert_allclose(small.landmarks68_std, 1)
    assert small.pose.scale == pytest.approx(face.pose.scale / 2)
    again = resize_face(small, 2.0)
    np.testing.assert_allclose(again.landmarks68, face.landmarks68, atol=1e-3)
    np.testing.assert_allclose(again.crop, face.crop, atol=1e-9)


def test_a_face_moves_to_the_corner_of_a_part_of_its_image(face):
    part = resize_face(face, 1.0, (30, 20))
    np.testing.assert_allclose(part.landmarks68, face.landmarks68 - [30, 20, 0], atol=1e-4)
    np.testing.assert_allclose(part.vertices(), face.vertices() - [30, 20, 0], atol=1e-3)
