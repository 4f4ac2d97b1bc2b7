import cv2
import numpy as np
import pytest
import torch

from bfm_assets import open_face
from synergy.camera import project_plain
from synergy.crop import landmark_box, square_crop, transform_points, warp
from synergy.errors import UserError
from synergy.geometry import compose_pose, euler_to_matrix, matrix_to_euler
from train.annotate.faces import FaceParameters, PointModel
from train.profiling.profiler import FaceProfiler, Profiler, outward_yaws, rotate_points, rotation_to_yaw
from train.profiling.surface import SurfaceFitter


@pytest.fixture(scope="module")
def scene():
    """A smooth random photo of 240x240 with a face at pitch 5, yaw 12, roll -8 degrees: image, vertices, face."""
    coarse = np.random.default_rng(0).integers(0, 255, (20, 20, 3), np.uint8)
    image = cv2.resize(coarse, (240, 240), interpolation=cv2.INTER_CUBIC)
    rotation = euler_to_matrix(torch.tensor([5.0, 12.0, -8.0], dtype=torch.float64).deg2rad())
    scale = torch.tensor(0.7, dtype=torch.float64)
    pose = compose_pose(scale, rotation, torch.tensor([118.0, 125.0, 0.0], dtype=torch.float64))
    vertices = project_plain(torch.from_numpy(open_face().mean).double(), pose, 240.0).numpy()
    vector = torch.cat([pose, torch.zeros(open_face().n_shape + open_face().n_expression)])
    return image, vertices, FaceParameters.from_vectors(PointModel.create(open_face()), vector[None], 240.0)


@pytest.fixture(scope="module")
def profiler(scene):
    image, vertices, _ = scene
    model = open_face()
    return Profiler(image, vertices[model.landmarks], vertices, model.triangles, 120)


@pytest.mark.parametrize("yaw", [12.0, 30.0, 60.0, 89.9])
def test_landmarks_and_pose_agree_with_reprojection(scene, profiler, yaw):
    faces, model = scene[2], PointModel.create(open_face())
    rotation = rotation_to_yaw(faces.rotation[0].numpy(), yaw)
    view = profiler.view(rotation)
    rotated = faces.rotate(rotation, profiler.centre).transform(view.crop[None])
    np.testing.assert_allclose(rotated.landmarks(model)[0], view.landmarks, atol=0.01)
    np.testing.assert_allclose(matrix_to_euler(rotated.rotation[0]).rad2deg().numpy(), [5, yaw, -8], atol=1e-6)
    box = landmark_box(view.landmarks)
    np.testing.assert_allclose((box[:2] + box[2:]) / 2, 59.5, atol=1e-6)
    assert (box[2:] - box[:2]).max() == pytest.approx(120 / 2**0.5)


def test_no_rotation_is_the_crop(scene, profiler):
    image, vertices, _ = scene
    landmarks = vertices[open_face().landmarks]
    view = profiler.view(np.eye(3))
    crop = square_crop(landmark_box(landmarks), 120)
    np.testing.assert_allclose(view.landmarks, transform_points(crop, landmarks), atol=1e-9)
    expected = cv2.warpAffine(image, crop, (120, 120), flags=cv2.INTER_LINEAR)
    difference = np.abs(view.image.astype(int) - expected.astype(int))
    assert difference.mean() < 1
    assert np.percentile(difference, 99) <= 6
    assert warp(image, crop, 120).shape == view.image.shape


def test_turning_away_hides_the_far_side(profiler, scene):
    view = profiler.view(rotation_to_yaw(scene[2].rotation[0].numpy(), 75.0))
    # Positive yaw turns the nose to the image's left: the person's right half, points 0-7 of the jaw, is hidden.
    assert not view.visible[1:6].any()
    assert view.visible[11:16].all()
    assert view.visible[45]
    assert not view.visible[36]


def test_the_texture_moves_with_the_landmarks(scene):
    """A white dot painted on the outer corner of an eye is where the rotated corner is."""
    image, vertices, faces = scene
    model = open_face()
    dark = np.zeros_like(image)
    landmarks = vertices[model.landmarks]
    cv2.circle(dark, tuple(int(v) for v in np.rint(landmarks[45, :2])), 4, (255, 255, 255), -1)
    rotation = rotation_to_yaw(faces.rotation[0].numpy(), 45.0)
    view = Profiler(dark, landmarks, vertices, model.triangles, 120).view(rotation)
    row, column = np.nonzero(view.image[..., 0] > 128)
    assert np.hypot(column.mean() - view.landmarks[45, 0], row.mean() - view.landmarks[45, 1]) < 1.5


def test_outward_yaws_go_to_the_own_side():
    assert outward_yaws(10, 20) == [30, 50, 70, 90]
    assert outward_yaws(-50, 20) == [-70, -90]
    assert outward_yaws(85, 10) == []


def test_rotating_back_returns(scene):
    points = scene[1][:10]
    rotation = rotation_to_yaw(scene[2].rotation[0].numpy(), 70.0)
    there = rotate_points(points, rotation, points.mean(0))
    np.testing.assert_allclose(rotate_points(there, rotation.T, points.mean(0)), points, atol=1e-9)


def test_surface_passes_through_the_landmarks(scene):
    landmarks = scene[1][open_face().landmarks] + np.random.default_rng(0).normal(size=(68, 3))
    fitter = SurfaceFitter(open_face())
    (surface,) = fitter.surfaces(landmarks[None], scene[2].rotation.numpy())
    np.testing.assert_allclose(surface[open_face().landmarks], landmarks, atol=0.05)
    assert np.linalg.norm(surface - scene[1], axis=-1).mean() < 6


def test_a_basis_without_a_mesh_is_refused(few_modes):
    with pytest.raises(UserError, match="no mesh"):
        SurfaceFitter(few_modes)


def test_large_photos_are_reduced_before_drawing(scene):
    """The same photo at four times the resolution gives nearly the same profiled images, without aliasing."""
    image, vertices, faces = scene
    profiler = FaceProfiler(open_face(), 30.0, 120)
    large = cv2.resize(image, None, fx=4, fy=4, interpolation=cv2.INTER_CUBIC)
    landmarks = vertices[open_face().landmarks]
    rotation = faces.rotation[0].numpy()
    small = profiler.draw(image, landmarks, rotation)
    reduced = profiler.draw(large, (landmarks + [0.5, 0.5, 0]) * 4 - [0.5, 0.5, 0], rotation)
    assert len(small) == 2
    for first, second in zip(small, reduced, strict=True):
        np.testing.assert_allclose(first.landmarks, second.landmarks, atol=1e-6)
        assert np.abs(first.image.astype(int) - second.image).mean() < 3
