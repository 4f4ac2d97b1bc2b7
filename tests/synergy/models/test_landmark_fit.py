"""The fit of the morphable model to landmarks: recovers pose and shape, and gives 2D landmarks a depth."""

from __future__ import annotations

import pytest
import torch

from bfm_assets import MorphableModel, open_face
from synergy.geometry import compose_pose, decompose_pose, euler_to_matrix, geodesic_angle
from synergy.models.face_model import LinearFaceModel
from synergy.models.landmark_fit import LandmarkFit
from synergy.parameters import join_parameters, split_pose

SIZE = 120.0


@pytest.fixture(scope="module")
def model() -> MorphableModel:
    return open_face()


def faces(model: MorphableModel, n: int, spread: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Parameters and rotations of faces up to 80 degrees of yaw; `spread` scales shape and expression."""
    generator = torch.Generator().manual_seed(0)
    angles = torch.rand(n, 3, generator=generator) * 2 - 1
    rotation = euler_to_matrix((angles * torch.tensor([25.0, 80.0, 25.0])).deg2rad())
    std = torch.from_numpy(model.coefficient_std)
    coefficients = spread * std * torch.randn(n, len(std), generator=generator)
    scale = torch.full((n,), 0.6)
    translation = torch.tensor([60.0, 55.0, 0.0]).expand(n, 3)
    return join_parameters(compose_pose(scale, rotation, translation), coefficients), rotation


@pytest.mark.parametrize(("spread", "degrees", "pixels"), [(0.0, 0.01, 0.01), (0.5, 2.0, 0.8)])
def test_the_fit_recovers_pose_and_landmarks(
    model: MorphableModel, spread: float, degrees: float, pixels: float
) -> None:
    params, rotation = faces(model, 50, spread)
    face = LinearFaceModel(model, landmarks_only=True)
    landmarks = face.project(params, SIZE)
    fitted = LandmarkFit(model)(landmarks, SIZE)
    _, found, _ = decompose_pose(split_pose(fitted)[0])
    assert geodesic_angle(rotation, found).rad2deg().mean() < degrees
    assert (face.project(fitted, SIZE) - landmarks).norm(dim=-1).mean() < pixels


def test_the_depth_of_2d_landmarks_is_that_of_the_mean_face(model: MorphableModel) -> None:
    params, _ = faces(model, 20, 0.0)
    landmarks = LinearFaceModel(model, landmarks_only=True).project(params, SIZE)
    with_depth = LandmarkFit(model).add_depth(landmarks[..., :2], SIZE)
    torch.testing.assert_close(with_depth, landmarks, atol=0.05, rtol=0)


def test_degenerate_landmarks_stay_finite(model: MorphableModel) -> None:
    fit = LandmarkFit(model)
    assert fit(torch.full((1, 68, 3), 60.0), SIZE).isfinite().all()
    assert fit.add_depth(torch.full((1, 68, 2), 60.0), SIZE).isfinite().all()
