import numpy as np
import pytest
import torch

from synergy.camera import project_plain
from synergy.models import SynergyNet
from synergy.parameters import count_parameters, make_pose_rigid
from synergy.weights import load


def test_shapes_of_every_output(small_net):
    n = count_parameters(small_net.morphable_model)
    out = small_net(torch.randint(0, 256, (3, 3, 120, 120), dtype=torch.uint8))
    assert out.landmarks.shape == out.coarse.shape == (3, 68, 3)
    assert out.params.shape == out.whitened.shape == (3, n)


def test_bytes_and_floats_are_the_same_image(small_net):
    image = torch.randint(0, 256, (2, 3, 120, 120), dtype=torch.uint8)
    torch.testing.assert_close(small_net(image).landmarks, small_net(image.float()).landmarks)


def test_coarse_landmarks_are_the_models_projected_vertices(tiny_model):
    net = SynergyNet(tiny_model, width=0.25).eval()
    shape, expression = np.array([1.0, -2, 0.5, 0]), np.array([0.1, 0.2, -0.3])
    pose = np.array([0.5, 0, 0, 60, 0, 0.5, 0, 50, 0, 0, 0.5, 0])
    params = torch.tensor(np.concatenate([pose, shape, expression]), dtype=torch.float32)[None]
    vertices = tiny_model.vertices(shape, expression)[tiny_model.landmarks]
    expected = project_plain(torch.from_numpy(vertices), params[0, :12], 120)
    expected[:, 2] -= expected[:, 2].mean()
    torch.testing.assert_close(net.project(params)[0], expected, atol=1e-3, rtol=0)


@pytest.mark.pytorch3d
def test_both_projections_give_the_same_landmarks(small_net, monkeypatch):
    params = make_pose_rigid(small_net.param_mean + small_net.param_std * torch.randn(4, len(small_net.param_std)))
    plain = small_net.project(params)
    monkeypatch.setattr(small_net, "projection", "pytorch3d")
    torch.testing.assert_close(small_net.project(params), plain, atol=1e-3, rtol=0)


def test_params_have_a_rigid_pose(small_net):
    params = small_net(torch.randint(0, 256, (3, 3, 120, 120), dtype=torch.uint8)).params
    torch.testing.assert_close(make_pose_rigid(params), params)


def test_checkpoints_hold_weights_and_whitening_only(small_net):
    parts = {name.split(".")[0] for name in small_net.state_dict()}
    heads = {"pose_head", "shape_head", "expression_head"}
    assert parts == {"backbone", "mafa", "landmark_to_3dmm", "param_mean", "param_std"} | heads


def test_heads_have_no_randomness_in_training(small_net):
    feature = torch.rand(4, small_net.backbone.n_features)
    assert torch.equal(small_net.train().heads(feature), small_net.eval().heads(feature))


def test_z_has_zero_mean():
    net = load()
    out = net(torch.randint(0, 256, (2, 3, 120, 120), dtype=torch.uint8))
    for points in (out.coarse, out.landmarks):
        assert points[..., 2].mean(-1).abs().max() < 1e-3
    assert (out.landmarks - out.coarse)[..., 2].abs().max() > 1e-3


def test_whitening_round_trip(tiny_model):
    net = SynergyNet(tiny_model, width=0.25)
    net.set_whitening(torch.arange(19.0), torch.arange(19.0) + 1)
    whitened = torch.randn(5, 19)
    torch.testing.assert_close(net.whitening.whiten(net.dewhiten(whitened)), whitened)


def test_landmarks_stay_in_full_precision_under_autocast(small_net):
    image = torch.rand(1, 3, 120, 120) * 255
    with torch.autocast("cpu", torch.bfloat16):
        out = small_net(image)
    assert out.landmarks.dtype == torch.float32
    expected = small_net.project(out.params)
    torch.testing.assert_close(out.coarse, expected)


@pytest.mark.parametrize("backbone", ["mobilenet_v1", "mobilenet_v2"])
def test_every_weight_learns_but_those_of_the_training_branch(tiny_model, backbone):
    net = SynergyNet(tiny_model, backbone, 0.25).train()
    net.set_whitening(torch.tensor([0.5, 0, 0, 60, 0, 0.5, 0, 60, 0, 0, 0.5, 0] + [0.0] * 7), torch.ones(19) * 0.1)
    out = net(torch.rand(4, 3, 120, 120) * 255)
    (out.landmarks.square().mean() + out.params.square().mean()).backward()
    for name, parameter in net.named_parameters():
        assert (parameter.grad is None) == name.startswith("landmark_to_3dmm."), name
