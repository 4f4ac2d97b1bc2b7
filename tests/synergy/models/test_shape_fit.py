"""The update that makes the mesh follow the refined landmarks."""

import torch

from bfm_assets import open_face
from synergy.geometry import decompose_pose
from synergy.models.face_model import LinearFaceModel
from synergy.models.shape_fit import ShapeFit
from synergy.parameters import join_parameters, make_pose_rigid, split_parameters, split_pose

SIZE = 120.0


def a_face(n=4):
    model, generator = open_face(), torch.Generator().manual_seed(0)
    pose = torch.tensor([0.42, 0.1, -0.1, 60, -0.1, 0.42, 0, 58, 0.1, 0, 0.42, 0]).expand(n, 12)
    coefficients = torch.randn(n, len(model.coefficient_std), generator=generator)
    params = join_parameters(pose, coefficients * torch.from_numpy(model.coefficient_std) * 0.5)
    return model, make_pose_rigid(params), LinearFaceModel(model, landmarks_only=True), generator


def gap(face, params, landmarks):
    return (face.project(params, SIZE) - landmarks).norm(dim=-1).mean()


def test_landmarks_of_the_parameters_themselves_change_nothing():
    model, params, face, _ = a_face()
    updated = ShapeFit(model)(params, face.project(params, SIZE), SIZE)
    torch.testing.assert_close(face.project(updated, SIZE), face.project(params, SIZE), atol=1e-3, rtol=0)


def test_a_shift_is_followed_exactly():
    model, params, face, _ = a_face()
    landmarks = face.project(params, SIZE) + torch.tensor([3.0, -2.0, 0.0])
    updated = ShapeFit(model)(params, landmarks, SIZE)
    torch.testing.assert_close(face.project(updated, SIZE), landmarks, atol=1e-3, rtol=0)


def test_another_identity_is_followed_and_pose_and_expression_stay():
    model, params, face, generator = a_face()
    pose, shape, expression = split_parameters(params, model.n_shape)
    noise = torch.randn(shape.shape, generator=generator) * torch.from_numpy(model.shape_std)
    landmarks = face.project(join_parameters(pose, shape + 0.5 * noise, expression), SIZE)
    updated = ShapeFit(model)(params, landmarks, SIZE)
    assert gap(face, updated, landmarks) < 0.5 * gap(face, params, landmarks)
    for before, after in zip(decompose_pose(pose)[:2], decompose_pose(split_pose(updated)[0])[:2], strict=True):
        torch.testing.assert_close(after, before, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(split_parameters(updated, model.n_shape)[2], expression)


def test_noise_changes_the_shape_by_less_than_the_prior_allows():
    """One pixel of noise on every landmark must not make an unlikely face."""
    model, params, face, generator = a_face(64)
    projected = face.project(params, SIZE)
    landmarks = projected + torch.randn(projected.shape, generator=generator)
    updated = ShapeFit(model)(params, landmarks, SIZE)
    change = (updated - params)[:, 12 : 12 + model.n_shape] / torch.from_numpy(model.shape_std)
    assert change.square().mean().sqrt() < 0.5
