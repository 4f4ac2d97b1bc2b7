"""The mathematics of face parameters: Jacobian, round trips, conversion to the camera of the library."""

import numpy as np
import torch
from kornia.geometry.conversions import axis_angle_to_rotation_matrix
from torch.testing import assert_close

from synergy.camera import project_plain
from synergy.crop import transform_points
from train.annotate.faces import FaceParameters, PointModel


def test_jacobian_matches_finite_differences(make_truth):
    truth = make_truth(3)
    jacobian = truth.faces.jacobian(truth.model)
    h = 1e-6
    for q in range(jacobian.shape[-1]):
        step = torch.zeros(3, jacobian.shape[-1], dtype=torch.float64)
        step[:, q] = h
        ahead, behind = truth.faces.retract(step), truth.faces.retract(-step)
        numeric = (ahead.project(truth.model) - behind.project(truth.model)) / (2 * h)
        assert_close(jacobian[..., q], numeric, atol=1e-6, rtol=1e-6)


def test_local_coordinates_undo_retract_and_are_differentiable_at_zero(make_truth):
    faces = make_truth(5).faces
    step = 0.3 * torch.randn(5, 22, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    step[0, :3] = 0
    step[1, :3] = 1e-9
    assert_close(faces.retract(step).local_coordinates(faces), step, atol=1e-9, rtol=0)
    zero = torch.zeros(1, 3, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(axis_angle_to_rotation_matrix(zero)[0, 1, 0], zero)
    assert gradient.tolist() == [[0, 0, 1]]


def test_parameter_vectors_round_trip_and_project_as_the_camera_does(few_modes, make_truth):
    truth, model = make_truth(5), PointModel.create(few_modes)
    vectors = truth.faces.to_vectors(model, 200.0)
    again = FaceParameters.from_vectors(model, vectors, 200.0)
    assert_close(again.project(model), truth.faces.project(model))
    vertices = torch.from_numpy(few_modes.vertices(vectors[:, 12:22].numpy(), vectors[:, 22:].numpy())).double()
    expected = project_plain(vertices, vectors[:, :12], 200.0) * torch.tensor([1.0, -1.0, 1.0])
    assert_close(truth.faces.project(model), expected, atol=1e-3, rtol=0)


def test_faces_are_recovered_from_their_landmarks(few_modes, make_truth):
    truth, model = make_truth(5), PointModel.create(few_modes)
    landmarks = truth.faces.project(model).numpy() * [1, -1, 1]
    found = FaceParameters.from_landmarks(model, landmarks, truth.faces.rotation.numpy(), noise=1e-4)
    assert_close(found.project(model), truth.faces.project(model), atol=0.05, rtol=0)
    assert_close(found.coefficients, truth.faces.coefficients, atol=0.05, rtol=0)


def test_image_maps_move_projected_points(few_modes, make_truth):
    faces, model = make_truth(4).faces, PointModel.create(few_modes)
    affine = np.tile(np.array([[2.0, 0, 30], [0, 2.0, -20]]), (4, 1, 1))
    flip = np.array([1, -1, 1])
    expected = transform_points(affine, faces.project(model).numpy() * flip)
    np.testing.assert_allclose(faces.transform(affine).project(model).numpy() * flip, expected, atol=1e-9)


def test_rows_are_selected_replaced_and_joined(make_truth):
    first, second = make_truth(4).faces, make_truth(4, seed=1).faces
    chosen = first.where(torch.tensor([True, False, True, False]), second)
    assert_close(chosen.log_scale, torch.stack([f.log_scale[i] for i, f in enumerate((first, second) * 2)]))
    replaced = first.replace_rows(torch.tensor([2, 0]), second[:2])
    assert_close(
        replaced.rotation, torch.stack([second.rotation[1], first.rotation[1], second.rotation[0], first.rotation[3]])
    )
    assert_close(FaceParameters.concatenate([first[:1], first[1:]]).coefficients, first.coefficients)
