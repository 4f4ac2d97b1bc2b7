import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from synergy.camera import project_plain
from synergy.geometry import (
    centre_depth,
    compose_pose,
    decompose_pose,
    euler_to_matrix,
    flip_y,
    geodesic_angle,
    matrix_to_euler,
    rotation_vector,
    transform_pose,
)


def random_angles(*shape: int) -> torch.Tensor:
    """Pitch and roll all around, yaw within the range that Euler angles invert uniquely."""
    generator = torch.Generator().manual_seed(0)
    unit = torch.rand(*shape, 3, generator=generator, dtype=torch.float64) * 2 - 1
    return unit * torch.tensor([np.pi, np.pi / 2 - 1e-3, np.pi], dtype=torch.float64)


@pytest.mark.parametrize("shape", [(), (7,), (2, 3, 4)])
def test_euler_round_trip_over_any_batch_shape(shape):
    angles = random_angles(*shape)
    rotation = euler_to_matrix(angles)
    assert rotation.shape == (*shape, 3, 3)
    torch.testing.assert_close(matrix_to_euler(rotation), angles, atol=1e-9, rtol=0)


def test_euler_agrees_with_scipy():
    angles = random_angles(100)
    expected = Rotation.from_euler("XYZ", -angles.numpy()).as_matrix()
    np.testing.assert_allclose(euler_to_matrix(angles).numpy(), expected, atol=1e-12)


# What a rotation does to a point of the head, in camera space (x right, y up, z to the camera).
SIGNS = [
    # angles (degrees)   point        where it must go
    ((30, 0, 0), (0, 0, 1), lambda p: p[1] > 0),  # positive pitch: the nose goes up
    ((0, 30, 0), (0, 0, 1), lambda p: p[0] < 0),  # positive yaw: the nose goes to the image's left
    ((0, 0, 30), (1, 0, 0), lambda p: p[1] < 0),  # positive roll: the eye on the image's right goes down
]


@pytest.mark.parametrize(("angles", "point", "holds"), SIGNS)
def test_signs_of_the_angles(angles, point, holds):
    rotation = euler_to_matrix(torch.tensor(angles, dtype=torch.float64).deg2rad())
    assert holds(rotation @ torch.tensor(point, dtype=torch.float64))


def test_pose_round_trip_is_exact():
    rotation = euler_to_matrix(random_angles(50))
    scale = torch.linspace(0.01, 10, 50, dtype=torch.float64)
    translation = torch.randn(50, 3, dtype=torch.float64) * 100
    parts = decompose_pose(compose_pose(scale, rotation, translation))
    for part, expected in zip(parts, (scale, rotation, translation), strict=True):
        torch.testing.assert_close(part, expected, atol=1e-12, rtol=1e-12)


def test_decomposition_of_any_matrix_is_a_rotation_that_favours_no_row():
    pose = torch.randn(200, 12, dtype=torch.float64)
    _, rotation, _ = decompose_pose(pose)
    identity = torch.eye(3, dtype=torch.float64).expand(200, 3, 3)
    torch.testing.assert_close(rotation @ rotation.mT, identity, atol=1e-9, rtol=0)
    assert (torch.linalg.det(rotation) > 0).all()
    rows = torch.nn.functional.normalize(pose.unflatten(-1, (3, 4))[:, :2, :3], dim=-1)
    cosines = (rows * rotation[:, :2]).sum(-1)
    torch.testing.assert_close(cosines[:, 0], cosines[:, 1], atol=1e-9, rtol=0)


def test_gradients_of_pose_functions():
    angles = random_angles(4).requires_grad_()
    assert torch.autograd.gradcheck(euler_to_matrix, angles)
    pose = torch.randn(3, 12, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(decompose_pose, pose)
    # Where singular values coincide an SVD's gradient is infinite; ours is not.
    exact = compose_pose(torch.tensor(2.0), torch.eye(3), torch.zeros(3)).requires_grad_()
    decompose_pose(exact)[1].sum().backward()
    assert torch.isfinite(exact.grad).all()


@pytest.mark.parametrize("degrees", [0, 1e-6, 5, 90, 179.999, 180])
def test_geodesic_angle_of_a_known_rotation(degrees):
    base = Rotation.random(random_state=1)
    turned = base * Rotation.from_rotvec(np.radians(degrees) * np.array([0.6, 0.0, 0.8]))
    angle = geodesic_angle(torch.from_numpy(base.as_matrix()), torch.from_numpy(turned.as_matrix()))
    assert np.degrees(angle.item()) == pytest.approx(degrees, abs=1e-7)


@pytest.mark.parametrize("shape", [(), (7,), (2, 3, 4)])
def test_angles_and_vectors_of_rotations_agree_with_scipy_over_any_batch_shape(shape):
    first, second = euler_to_matrix(random_angles(2, *shape))
    expected = [Rotation.from_matrix(one.reshape(-1, 3, 3).numpy()) for one in (first, second)]
    angles = (expected[0].inv() * expected[1]).magnitude()
    np.testing.assert_allclose(geodesic_angle(first, second), angles.reshape(shape), atol=1e-9)
    np.testing.assert_allclose(rotation_vector(first), expected[0].as_rotvec().reshape(*shape, 3), atol=1e-7)


@pytest.mark.parametrize("radians", [0, 1e-9, 1e-5, 0.1, 3])
def test_rotation_vectors_of_small_and_large_angles(radians):
    vector = radians * np.array([0.6, 0.0, 0.8])
    rotation = torch.from_numpy(Rotation.from_rotvec(vector).as_matrix())
    np.testing.assert_allclose(rotation_vector(rotation), vector, rtol=1e-7)


FLIPS = [
    # point        height  where it goes
    ((1.0, 2.0, 3.0), 10.0, (1.0, 8.0, 3.0)),
    ((1.0, 2.0), 10.0, (1.0, 8.0)),
    ((1.0, 2.0, 3.0), 0.0, (1.0, -2.0, 3.0)),
]


@pytest.mark.parametrize("make", [torch.tensor, np.array])
@pytest.mark.parametrize(("point", "height", "expected"), FLIPS)
def test_flip_y_is_its_own_inverse(make, point, height, expected):
    points = make([[point, point]])
    flipped = flip_y(points, height)
    assert flipped.tolist() == [[list(expected)] * 2]
    assert flip_y(flipped, height).tolist() == points.tolist()


def test_flip_y_keeps_the_type_of_floats_and_makes_floats_of_integers():
    assert flip_y(np.zeros((2, 3), np.float32), 5).dtype == np.float32
    assert flip_y(torch.zeros(2, 3, dtype=torch.float64), 5).dtype == torch.float64
    assert flip_y(np.zeros((2, 3), int), 0.5).tolist() == [[0, 0.5, 0]] * 2


@pytest.mark.parametrize("make", [torch.from_numpy, np.asarray])
def test_depth_is_centred_on_the_reference(make):
    points = make(np.random.default_rng(0).normal(size=(2, 5, 3)))
    centred, by_two = centre_depth(points), centre_depth(points, points[..., :2, :])
    np.testing.assert_array_equal(centred[..., :2], points[..., :2])
    np.testing.assert_allclose(centred[..., 2].mean(-1), 0, atol=1e-12)
    np.testing.assert_allclose(by_two[..., :2, 2].mean(-1), 0, atol=1e-12)
    np.testing.assert_allclose(np.diff(by_two[..., 2]), np.diff(points[..., 2]))


AFFINES = [
    [[1.0, 0, 5], [0, 1, -3]],  # shift
    [[0.5, 0, 0], [0, 0.5, 0]],  # scale about the origin
    [[0.8, -0.6, 10], [0.6, 0.8, 20]],  # rotation
    [[-1.0, 0, 119], [0, 1, 0]],  # mirror
    [[-0.4, 0.3, 60], [0.3, 0.4, 9]],  # mirror, rotation and scale
]


@pytest.mark.parametrize("affine", AFFINES)
def test_a_moved_pose_projects_to_the_moved_points(affine):
    affine = torch.tensor(affine, dtype=torch.float64)
    model = torch.randn(6, 9, 3, dtype=torch.float64)
    pose = compose_pose(
        torch.rand(6).double() + 0.5, euler_to_matrix(random_angles(6)), torch.randn(6, 3).double() * 50
    )
    scale = torch.linalg.det(affine[:, :2]).abs().sqrt()
    before = project_plain(model, pose, 120)
    expected = torch.cat([before[..., :2] @ affine[:, :2].mT + affine[:, 2], before[..., 2:] * scale], -1)
    moved = transform_pose(pose, affine.expand(6, 2, 3), 120)
    mirrored = torch.linalg.det(affine[:, :2]) < 0
    model = model * torch.tensor([-1.0, 1, 1]) if mirrored else model
    torch.testing.assert_close(project_plain(model, moved, 120), expected)
    rotation = moved.unflatten(-1, (3, 4))[..., :3]
    assert (torch.linalg.det(rotation) > 0).all()
