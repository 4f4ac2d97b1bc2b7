import numpy as np
import pytest
import torch

from synergy.camera import project_plain
from synergy.models import SynergyNet
from synergy.models.synergynet import N_POSE


def test_shapes_of_every_output(small_net):
    n = N_POSE + small_net.n_shape + small_net.n_expression
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


def test_training_and_prediction_project_alike(small_net):
    params = small_net.param_mean + small_net.param_std * torch.randn(4, len(small_net.param_std))
    predicted = small_net.project(params)
    try:
        trained = small_net.train().project(params)
    finally:
        small_net.eval()
    torch.testing.assert_close(trained, predicted, atol=1e-3, rtol=0)


def test_z_has_zero_mean_in_coarse_landmarks(small_net):
    z = small_net(torch.rand(4, 3, 120, 120) * 255).coarse[..., 2]
    torch.testing.assert_close(z.mean(1), torch.zeros(4), atol=1e-4, rtol=0)


def test_whitening_round_trip(tiny_model):
    net = SynergyNet(tiny_model, width=0.25)
    net.set_whitening(torch.arange(19.0), torch.arange(19.0) + 1)
    whitened = torch.randn(5, 19)
    torch.testing.assert_close((net.dewhiten(whitened) - net.param_mean) / net.param_std, whitened)


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
