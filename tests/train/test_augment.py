"""Augmented labels lie where the augmented image shows them, and all labels of a face move together."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from bfm_assets import MorphableModel
from synergy.geometry import compose_pose, decompose_pose, euler_to_matrix, matrix_to_euler
from synergy.mirror import MirrorCoefficients
from train.augment import Augment, AugmentConfig, random_affine, replace_background, transform_batch
from train.batch import Batch

SIDE = 120


Project = Callable[[Tensor], Tensor]


def make_batch(model: MorphableModel, project: Project, n: int = 8) -> Batch:
    generator = torch.Generator().manual_seed(1)
    angles = torch.randn(n, 3, generator=generator) * 0.4
    translation = torch.tensor([60.0, 55.0, 3.0]).expand(n, 3)
    pose = compose_pose(torch.full((n,), 1.7), euler_to_matrix(angles), translation)
    n_coefficients = model.n_shape + model.n_expression
    params = torch.cat([pose, torch.randn(n, n_coefficients, generator=generator)], -1)
    landmarks = project(params)
    image = torch.zeros(n, 3, SIDE, SIDE, dtype=torch.uint8)
    visibility = torch.full((n, 68), 2, dtype=torch.int8)
    visibility[:, 0] = 0
    return Batch(image, landmarks, visibility, params, torch.ones(n), landmarks[..., :2].clone(), torch.zeros(n))


def draw_dot(image: Tensor, xy: Tensor) -> None:
    """Add a Gaussian blob of 2 px sigma at xy to a (3, H, W) uint8 image."""
    y, x = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    blob = 255 * torch.exp(-((x - xy[0]) ** 2 + (y - xy[1]) ** 2) / 8)
    image.copy_(blob.to(torch.uint8).expand(3, -1, -1))


@pytest.mark.parametrize("size", [120, 80])
@pytest.mark.parametrize("is_mirrored", [False, True])
def test_landmarks_lie_where_the_image_shows_them(
    symmetric: MorphableModel, project: Project, size: int, is_mirrored: bool
) -> None:
    batch = make_batch(symmetric, project)
    point = 30
    batch.landmarks[:, point, :2] = torch.rand(len(batch), 2) * 40 + 40
    for image, xy in zip(batch.image, batch.landmarks[:, point, :2], strict=True):
        draw_dot(image, xy)
    mirrored = torch.full((len(batch),), is_mirrored)
    affine = random_affine(len(batch), SIDE, AugmentConfig(), mirrored)
    moved = transform_batch(batch, affine, mirrored, MirrorCoefficients(symmetric), SIDE, size)
    ticks = (torch.arange(size) + 0.5) * SIDE / size - 0.5
    gray = moved.image.mean(1)
    shown = torch.stack([(gray.sum(1) * ticks).sum(-1), (gray.sum(2) * ticks).sum(-1)], -1) / gray.sum((1, 2))[:, None]
    expected = moved.landmarks[:, point, :2]
    # Close-ups and shifts move some of the dots to the border of the crop, which cuts them off.
    is_whole = ((expected > 16) & (expected < SIDE - 17)).all(-1)
    assert is_whole.sum() >= 3
    assert (shown - expected)[is_whole].abs().max() < 0.3


@pytest.mark.parametrize("is_mirrored", [False, True])
def test_parameters_project_to_the_moved_landmarks(
    symmetric: MorphableModel, project: Project, is_mirrored: bool
) -> None:
    batch = make_batch(symmetric, project)
    mirrored = torch.full((len(batch),), is_mirrored)
    affine = random_affine(len(batch), SIDE, AugmentConfig(), mirrored)
    moved = transform_batch(batch, affine, mirrored, MirrorCoefficients(symmetric), SIDE, 16)
    assert (project(moved.params) - moved.landmarks).abs().max() < 0.02
    rotation = decompose_pose(moved.params[:, :12])[1]
    assert torch.linalg.det(rotation).sub(1).abs().max() < 1e-5
    assert (moved.visibility[:, 16 if is_mirrored else 0] == 0).all()


def test_mirror_negates_yaw_and_roll(symmetric: MorphableModel, project: Project) -> None:
    batch = make_batch(symmetric, project)
    affine = torch.tensor([[-1.0, 0.0, SIDE - 1.0], [0.0, 1.0, 0.0]]).expand(len(batch), 2, 3)
    mirrored = torch.ones(len(batch), dtype=torch.bool)
    moved = transform_batch(batch, affine, mirrored, MirrorCoefficients(symmetric), SIDE, 16)
    before = matrix_to_euler(decompose_pose(batch.params[:, :12])[1])
    after = matrix_to_euler(decompose_pose(moved.params[:, :12])[1])
    torch.testing.assert_close(after, before * torch.tensor([1.0, -1.0, -1.0]), atol=1e-5, rtol=0)


def test_wide_rotations_cover_the_circle_evenly() -> None:
    config = AugmentConfig(wide_rotation=1.0, scale=0)
    affine = random_affine(4000, SIDE, config, torch.zeros(4000, dtype=torch.bool))
    angle = torch.atan2(affine[:, 1, 0], affine[:, 0, 0])
    counts = torch.histc(angle, 8, -math.pi, math.pi)
    assert counts.sum() == 4000
    assert counts.min() > 400


def test_rotation_is_roll(symmetric: MorphableModel, project: Project) -> None:
    batch = make_batch(symmetric, project)
    c, s = math.cos(0.3), math.sin(0.3)
    affine = torch.tensor([[c, -s, 10.0], [s, c, -10.0]]).expand(len(batch), 2, 3)
    none = torch.zeros(len(batch), dtype=torch.bool)
    batch.params[:, :12] = compose_pose(
        torch.ones(len(batch)), euler_to_matrix(torch.zeros(len(batch), 3)), torch.zeros(len(batch), 3)
    )
    moved = transform_batch(batch, affine, none, MirrorCoefficients(symmetric), SIDE, 16)
    # Clockwise on the screen: the eye on the image's right goes down, which is positive roll.
    angles = matrix_to_euler(decompose_pose(moved.params[:, :12])[1])
    torch.testing.assert_close(angles, torch.tensor([0.0, 0.0, 0.3]).expand(len(batch), 3), atol=1e-5, rtol=0)


def test_unknown_labels_stay_unknown_and_known_ones_stay_known(symmetric: MorphableModel, project: Project) -> None:
    batch = make_batch(symmetric, project, 16)
    batch.landmarks[:8] = torch.nan
    batch.params[8:] = torch.nan
    moved = Augment(symmetric)(batch)
    assert moved.landmarks[:8].isnan().all()
    assert moved.landmarks[8:].isfinite().all()
    assert moved.params[8:].isnan().all()
    assert moved.params[:8].isfinite().all()
    assert moved.image.isfinite().all()
    assert moved.image.min() >= 0
    assert moved.image.max() <= 255


def test_augmentation_follows_the_seed(symmetric: MorphableModel, project: Project) -> None:
    batch = make_batch(symmetric, project, 16)
    batch.image.random_(0, 256)
    results = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        results.append(Augment(symmetric)(batch))
    assert torch.equal(results[0].image, results[1].image)
    assert torch.equal(results[0].params, results[1].params)
    assert not torch.equal(results[0].image, results[2].image)


def test_covered_landmarks_become_occluded(symmetric: MorphableModel, project: Project) -> None:
    batch = make_batch(symmetric, project, 32)
    moved = Augment(symmetric, config=AugmentConfig(occlude=1.0))(batch)
    assert (moved.visibility == 1).any()
    assert ((moved.visibility == 0).sum(1) == 1).all()


def test_new_backgrounds_leave_the_face(symmetric: MorphableModel, project: Project) -> None:
    batch = make_batch(symmetric, project, 16)
    torch.manual_seed(0)
    image = torch.rand(16, 3, SIDE, SIDE) * 255
    landmarks = batch.landmarks.clone()
    landmarks[..., :2] = landmarks[..., :2].clamp(30, 90)
    moved = replace_background(image, landmarks, SIDE, 1.0)
    x, y = landmarks[..., :2].round().long().unbind(-1)
    at_landmarks = (moved - image)[torch.arange(16)[:, None], :, y, x]
    assert at_landmarks.abs().max() < 1e-3
    assert ((moved - image)[..., :8, :8].abs().mean((1, 2, 3)) > 20).all()
    assert torch.equal(replace_background(image, landmarks, SIDE, 0.0), image)
