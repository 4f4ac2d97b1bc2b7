"""The layout of parameter vectors, and their whitening."""

import numpy as np
import pytest
import torch

from synergy.camera import project_plain
from synergy.geometry import compose_pose, euler_to_matrix
from synergy.parameters import (
    N_POSE,
    Whitening,
    count_parameters,
    join_parameters,
    make_pose_rigid,
    split_parameters,
    split_pose,
    translate,
)

S, E = 4, 3


def make(kind, shape):
    values = np.arange(np.prod((*shape, N_POSE + S + E)), dtype=np.float32).reshape(*shape, -1)
    return torch.from_numpy(values) if kind == "torch" else values


@pytest.mark.parametrize("kind", ["torch", "numpy"])
@pytest.mark.parametrize("shape", [(), (2,), (2, 5)])
def test_split_and_join_are_inverse_for_any_leading_shape(kind, shape):
    params = make(kind, shape)
    pose, coefficients = split_pose(params)
    _, identity, expression = split_parameters(params, S)
    assert (pose.shape, identity.shape, expression.shape) == ((*shape, 12), (*shape, S), (*shape, E))
    for joined in (join_parameters(pose, coefficients), join_parameters(pose, identity, expression)):
        assert type(joined) is type(params)
        np.testing.assert_array_equal(joined, params)


def test_count_is_that_of_the_model(tiny_model):
    assert count_parameters(tiny_model) == 12 + 4 + 3


@pytest.mark.parametrize("kind", ["torch", "numpy"])
def test_translate_moves_the_projected_points(kind):
    params = make(kind, (2,)) / 100
    moved = translate(params, x=5.0, y=2.0, z=-1.0)
    points = torch.randn(2, 7, 3)
    before, after = (project_plain(points, torch.as_tensor(split_pose(p)[0]), 120) for p in (params, moved))
    torch.testing.assert_close(after, before + torch.tensor([5.0, -2.0, -1.0]), atol=1e-4, rtol=0)
    np.testing.assert_array_equal(split_pose(moved)[1], split_pose(params)[1])


def test_a_rigid_pose_stays_and_any_other_becomes_one():
    torch.manual_seed(0)
    rotation = euler_to_matrix(torch.rand(50, 3) - 0.5)
    coefficients = torch.randn(50, S + E)
    rigid = join_parameters(compose_pose(torch.rand(50) + 0.5, rotation, torch.randn(50, 3) * 60), coefficients)
    torch.testing.assert_close(make_pose_rigid(rigid), rigid, atol=1e-4, rtol=1e-5)
    noisy = rigid + torch.cat([torch.randn(50, 12) * 0.05, torch.zeros(50, S + E)], -1)
    pose, kept = split_pose(make_pose_rigid(noisy))
    linear = pose.unflatten(-1, (3, 4))[..., :3]
    gram = linear @ linear.mT
    assert (gram - gram.diagonal(dim1=-2, dim2=-1).mean(-1)[:, None, None] * torch.eye(3)).abs().max() < 1e-5
    torch.testing.assert_close(kept, coefficients)


@pytest.mark.parametrize("kind", ["torch", "numpy"])
def test_whitening_round_trip(kind):
    mean, std = make(kind, ()), make(kind, ()) + 1
    whitening, params = Whitening(mean, std), make(kind, (5,))
    np.testing.assert_allclose(whitening.dewhiten(whitening.whiten(params)), params, rtol=1e-5)
    np.testing.assert_array_equal(whitening.whiten(mean), 0 * mean)
