import torch

from synergy.models.pointnet import MAFA, RESIDUAL_SCALE, LandmarkTo3DMM, PointEncoder


def count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_parameter_counts_of_the_paper():
    mafa = MAFA(1280, 50)
    assert round((count(mafa) - mafa.of_landmark.numel()) / 1e6, 2) == 1.56
    assert round(count(LandmarkTo3DMM(62)) / 1e6, 2) == 0.22


def test_encoder_knows_no_order_of_points():
    encoder = PointEncoder().eval()
    points, order = torch.randn(3, 68, 3), torch.randperm(68)
    point, whole = encoder(points)
    permuted, same_whole = encoder(points[:, order])
    torch.testing.assert_close(permuted, point[:, order])
    torch.testing.assert_close(same_whole, whole)


def test_sharing_the_first_layer_equals_concatenating_per_point():
    """The paper's form: 64 + 1024 + 1280 + 50 = 2418 numbers at every point through one linear layer."""
    mafa = MAFA(1280, 50).eval()
    mafa.of_landmark.data.normal_()
    points, image, coefficients = torch.randn(2, 68, 3), torch.randn(2, 1280), torch.randn(2, 50)
    point, whole = mafa.encoder(points)
    face = torch.cat([whole, image, coefficients], -1).unsqueeze(1).expand(-1, 68, -1)
    weight = torch.cat([mafa.from_point.weight, mafa.from_face.weight], 1)
    assert weight.shape == (512, 2418)
    features = torch.cat([point, face], -1) @ weight.T + mafa.from_face.bias + mafa.of_landmark
    expected = points + RESIDUAL_SCALE * mafa.rest(mafa.first(features))
    torch.testing.assert_close(mafa(points, image, coefficients), expected, atol=1e-5, rtol=1e-5)


def test_residuals_and_parameters_take_both_signs():
    """The released code's output ReLU would forbid it."""
    torch.manual_seed(0)
    points = torch.randn(8, 68, 3)
    residual = MAFA(16, 4)(points, torch.randn(8, 16), torch.randn(8, 4)) - points
    params = LandmarkTo3DMM(62)(points)
    for values in (residual, params):
        assert values.min() < 0 < values.max()


def test_gradients_reach_every_input_and_weight():
    mafa = MAFA(16, 4)
    inputs = [torch.randn(4, 68, 3), torch.randn(4, 16), torch.randn(4, 4)]
    for tensor in inputs:
        tensor.requires_grad_()
    mafa(*inputs).square().sum().backward()
    for tensor in [*inputs, *mafa.parameters()]:
        assert tensor.grad is not None
        assert tensor.grad.isfinite().all()


def test_landmarks_at_the_same_place_have_different_residuals_once_their_biases_differ():
    mafa = MAFA(16, 4).eval()
    inputs = torch.zeros(1, 68, 3), torch.randn(1, 16), torch.randn(1, 4)
    first, second = mafa(*inputs)[0, :2]
    torch.testing.assert_close(first, second)
    mafa.of_landmark.data[1] += 1
    torch.testing.assert_close(mafa(*inputs)[0, 0], first)
    assert (mafa(*inputs)[0, 1] - second).norm() > 1e-4
