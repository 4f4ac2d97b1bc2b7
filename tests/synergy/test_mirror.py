"""Mirrored parameters project to mirrored landmarks."""

import dataclasses

import numpy as np
import pytest
import torch

from bfm_assets import open_face
from synergy.mirror import MirrorCoefficients, mirror_landmarks, mirror_pose
from synergy.models import SynergyNet
from synergy.parameters import join_parameters, make_pose_rigid, split_pose


@pytest.mark.parametrize("mean_expression", [0.0, 0.5])
def test_mirrored_parameters_give_mirrored_landmarks(mean_expression):
    """Also with a mean face that is not symmetric, which has one-sided expressions."""
    model = open_face()
    weights = mean_expression * np.array([name.endswith("Left") for name in model.expression_names], np.float32)
    model = dataclasses.replace(model, mean=model.mean + model.expression_basis @ weights)
    net = SynergyNet(model, width=0.25).eval()
    generator = torch.Generator().manual_seed(0)
    pose = torch.randn(4, 12, generator=generator) + torch.tensor([0.0, 0, 0, 60] * 3)
    coefficients = torch.randn(4, model.n_shape + model.n_expression, generator=generator)
    params = make_pose_rigid(join_parameters(pose, coefficients))
    mirrored = MirrorCoefficients(model).mirror(params, 120)
    assert (split_pose(mirrored)[1] - coefficients).abs().max() > 0.1
    expected = mirror_landmarks(net.project(params), 120)
    # The faces are some 200 px wide here; the ridge of the least squares solution leaves a fraction of one.
    torch.testing.assert_close(net.project(mirrored), expected, atol=0.5, rtol=0)


def test_mirrored_twice_is_the_same():
    generator = torch.Generator().manual_seed(0)
    pose, landmarks = torch.randn(2, 12, generator=generator), torch.randn(2, 68, 3, generator=generator)
    torch.testing.assert_close(mirror_pose(mirror_pose(pose, 120), 120), pose, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(mirror_landmarks(mirror_landmarks(landmarks, 120), 120), landmarks, atol=1e-4, rtol=1e-4)
