"""The torch face model against the numpy one, and what users do with it."""

import doctest

import numpy as np
import pytest
import torch

from bfm_assets import open_face
from synergy.geometry import compose_pose, euler_to_matrix
from synergy.mirror import MirrorCoefficients
from synergy.models import face_model
from synergy.models.face_model import LinearFaceModel
from synergy.models.shape_fit import ShapeFit
from synergy.parameters import join_parameters, make_pose_rigid, split_parameters


def random_params(model, *shape):
    generator = torch.Generator().manual_seed(0)
    rotation = euler_to_matrix(torch.rand(*shape, 3, generator=generator) - 0.5)
    pose = compose_pose(torch.full(shape, 0.5), rotation, torch.rand(*shape, 3, generator=generator) * 120)
    coefficients = torch.randn(*shape, len(model.coefficient_std), generator=generator)
    return join_parameters(pose, coefficients * torch.from_numpy(model.coefficient_std))


@pytest.mark.parametrize("shape", [(), (4,), (2, 3)])
def test_vertices_are_those_of_the_morphable_model(tiny_model, shape):
    params = random_params(tiny_model, *shape)
    _, identity, expression = split_parameters(params.numpy(), tiny_model.n_shape)
    expected = tiny_model.vertices(identity, expression)
    face = LinearFaceModel(tiny_model)
    np.testing.assert_allclose(face.vertices(params), expected, atol=1e-3)
    np.testing.assert_allclose(face.landmarks(params), expected[..., tiny_model.landmarks, :], atol=1e-3)


def test_the_form_of_68_points_is_the_dense_one_at_its_landmarks(tiny_model):
    params = random_params(tiny_model, 5)
    dense, sparse = LinearFaceModel(tiny_model), LinearFaceModel(tiny_model, landmarks_only=True)
    assert sparse.vertices(params).shape == (5, 68, 3)
    torch.testing.assert_close(sparse.landmarks(params), dense.landmarks(params), atol=1e-4, rtol=0)
    torch.testing.assert_close(sparse.project(params, 120), dense.project(params, 120), atol=1e-4, rtol=0)


@pytest.mark.parametrize("shape", [(), (4,), (2, 3)])
def test_the_projected_mesh_passes_through_the_projected_landmarks(tiny_model, shape):
    face, params = LinearFaceModel(tiny_model), random_params(tiny_model, *shape)
    points, mesh = face.project(params, 120), face.project_mesh(params, 120)
    assert mesh.shape == (*shape, tiny_model.n_vertices, 3)
    torch.testing.assert_close(mesh[..., face.landmark_indices, :], points, atol=1e-4, rtol=0)
    torch.testing.assert_close(points[..., 2].mean(-1), torch.zeros(shape), atol=1e-4, rtol=0)


def test_a_hand_worked_face(tiny_model):
    """Twice as large, moved by (10, 20): x = 2 X + 10 and y = 100 - (2 Y + 20)."""
    pose = torch.tensor([2.0, 0, 0, 10, 0, 2, 0, 20, 0, 0, 2, 5])
    params = join_parameters(pose, torch.zeros(7))
    points = LinearFaceModel(tiny_model).project(params, 100).numpy()
    mean = tiny_model.mean[tiny_model.landmarks]
    expected = np.stack([2 * mean[:, 0] + 10, 80 - 2 * mean[:, 1], 2 * (mean[:, 2] - mean[:, 2].mean())], -1)
    np.testing.assert_allclose(points, expected, atol=1e-3)


@pytest.mark.parametrize("function", ["project", "project_mesh"])
def test_gradients_in_double_precision(tiny_model, function):
    face = LinearFaceModel(tiny_model).double()
    params = random_params(tiny_model, 2).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda p: getattr(face, function)(p, 120.0)[:, ::20], (params,))


def test_it_adds_nothing_to_checkpoints_and_nothing_to_learn(tiny_model):
    face = LinearFaceModel(tiny_model)
    assert face.state_dict() == {}
    assert list(face.parameters()) == []


def test_a_dense_model_is_not_copied(tiny_model):
    face = LinearFaceModel(tiny_model)
    assert np.shares_memory(face.basis.numpy(), tiny_model.basis)
    assert np.shares_memory(face.mean.numpy(), tiny_model.mean)


def test_the_example_that_fits_68_landmarks():
    """The documented example of the class runs as printed."""
    assert doctest.testmod(face_model).failed == 0


def test_lbfgs_finds_pose_and_coefficients_again():
    model = open_face()
    face, std = LinearFaceModel(model, landmarks_only=True), torch.from_numpy(model.coefficient_std)
    target = face.project(random_params(model), 120.0)
    steps = torch.zeros(12 + len(std), requires_grad=True)
    start = torch.tensor([0.4, 0, 0, 60, 0, 0.4, 0, 60, 0, 0, 0.4, 0])
    unit = torch.cat([torch.tensor([0.01, 0.01, 0.01, 1.0] * 3), std])

    def loss():
        optimiser.zero_grad()
        missing = face.project(join_parameters(start, torch.zeros(len(std))) + steps * unit, 120.0) - target
        (missing.square().sum() + 1e-3 * steps[12:].square().sum()).backward()
        return missing.square().sum()

    optimiser = torch.optim.LBFGS([steps], max_iter=300, line_search_fn="strong_wolfe")
    optimiser.step(loss)
    assert loss().div(68).sqrt() < 0.1


def test_every_tensor_is_made_on_the_device_of_the_parameters(tiny_model):
    """The meta device refuses to mix with tensors of the CPU, as a GPU does."""
    params = random_params(tiny_model, 2).to("meta")
    face, fit = LinearFaceModel(tiny_model).to("meta"), ShapeFit(tiny_model).to("meta")
    points = face.project(params, 120.0)
    mirrored = MirrorCoefficients(tiny_model).mirror(params, 120)
    results = [face.project_mesh(params, 120.0), fit(params, points, 120.0), make_pose_rigid(params), mirrored]
    assert {result.device.type for result in [points, *results]} == {"meta"}
