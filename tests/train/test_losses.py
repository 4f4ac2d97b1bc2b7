"""Losses against values worked out by hand, masks, and gradients."""

from __future__ import annotations

import math

import pytest
import torch

from train.losses import (
    adaptive_wing,
    contour_normals,
    direction_loss,
    gaussian_nll,
    parameter_importance,
    pfld,
    rarity,
    rms,
    smooth_l1,
    vdc,
    wing,
    wpdc,
)

ONE = torch.ones(1)


# omega 10, epsilon 2: C = 10 - 10 ln 6 = -7.917595
@pytest.mark.parametrize(
    ("error", "expected"),
    [(0.0, 0.0), (2.0, 10 * math.log(2)), (-2.0, 10 * math.log(2)), (10.0, 10 * math.log(6)), (20.0, 20 + 7.917595)],
)
def test_wing_values(error: float, expected: float) -> None:
    target = torch.zeros(1, 68, 3)
    assert wing(target + error, target, ONE).item() == pytest.approx(expected, abs=1e-4)


def test_rms_is_the_root_of_the_mean_square() -> None:
    predicted = torch.tensor([[3.0, 4.0]])
    assert rms(predicted, torch.zeros(1, 2), ONE).item() == pytest.approx(12.5**0.5)


def test_vdc_is_the_mean_squared_distance() -> None:
    predicted = torch.tensor([[[1.0, 2.0, 2.0], [0.0, 0.0, 0.0]]])
    assert vdc(predicted, torch.zeros(1, 2, 3), ONE).item() == pytest.approx(4.5)


def test_wpdc_weighs_by_what_each_parameter_moves() -> None:
    predicted, target = torch.tensor([[1.0, 2.0]]), torch.zeros(1, 2)
    importance = parameter_importance(predicted, target, torch.tensor([4.0, 1.0]))
    torch.testing.assert_close(importance, torch.tensor([[1.0, 0.5]]))
    assert wpdc(predicted, target, importance, ONE).item() == pytest.approx((1 + 2) / 2)


@pytest.mark.parametrize("loss", [wing, rms, vdc])
def test_unknown_targets_do_not_count(loss: object) -> None:
    torch.manual_seed(0)
    predicted = torch.randn(4, 68, 3, requires_grad=True)
    target = torch.randn(4, 68, 3)
    target[:2] = torch.nan
    value = loss(predicted, target, torch.ones(4))  # type: ignore[operator]
    value.backward()
    assert value.item() == pytest.approx(loss(predicted[2:], target[2:], torch.ones(2)).item(), rel=1e-5)  # type: ignore[operator]
    assert predicted.grad is not None
    assert predicted.grad.isfinite().all()
    assert (predicted.grad[:2] == 0).all()
    assert (predicted.grad[2:] != 0).any()


@pytest.mark.parametrize("loss", [wing, rms, vdc])
def test_nothing_known_is_zero_with_zero_gradient(loss: object) -> None:
    predicted = torch.randn(4, 68, 3, requires_grad=True)
    value = loss(predicted, torch.full((4, 68, 3), torch.nan), torch.ones(4))  # type: ignore[operator]
    value.backward()
    assert value.item() == pytest.approx(0, abs=1e-5)
    assert predicted.grad is not None
    assert (predicted.grad == 0).all()


def test_weights_scale_samples() -> None:
    predicted = torch.zeros(2, 68, 3)
    predicted[0] = 2
    target = torch.zeros(2, 68, 3)
    one, other = wing(predicted, target, torch.tensor([1.0, 0.0])), wing(predicted, target, torch.tensor([1.0, 3.0]))
    assert other.item() == pytest.approx(one.item() / 4, rel=1e-5)


def random_points(seed: int, dims: int = 2) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 60 + 20 * torch.randn(2, 68, dims, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize(("error", "expected"), [(0.0, 0.0), (0.5, 0.125), (-1.0, 0.5), (3.0, 2.5)])
def test_smooth_l1_values(error: float, expected: float) -> None:
    target = torch.zeros(1, 68, 2)
    assert smooth_l1(target + error, target, ONE).item() == pytest.approx(expected)


@pytest.mark.parametrize("beta", [1.0, 3.0])
@pytest.mark.parametrize("error", [0.0, 0.5, -1.0, 3.0, -4.0])
def test_smooth_l1_is_that_of_torch(error: float, beta: float) -> None:
    target = torch.zeros(1, 68, 2)
    expected = torch.nn.functional.smooth_l1_loss(target + error, target, beta=beta)
    assert smooth_l1(target + error, target, ONE, beta).item() == pytest.approx(expected.item())


def test_direction_loss_is_quadratic_near_the_target() -> None:
    target = random_points(0)
    for error, expected in ((0.5, 0.5**2 / 6), (4.0, 4 - 1.5)):
        moved = target + torch.tensor([error, 0.0], dtype=torch.float64)
        found = direction_loss(moved, target, torch.ones(2), anisotropy=1.0, smooth=3.0)
        assert found.item() == pytest.approx(expected)


def test_gaussian_nll_is_that_of_torch() -> None:
    target, predicted = random_points(0), random_points(1)
    std = 1 + torch.rand(2, 68, dtype=torch.float64)
    normal = torch.distributions.Normal(predicted, std[..., None])
    expected = -normal.log_prob(target).sum(-1).mean()
    found = gaussian_nll(predicted, target, std, torch.ones(2))
    assert found.item() == pytest.approx(expected.item())
    target[0, :30] = torch.nan
    expected = -normal.log_prob(target.nan_to_num()).sum(-1)
    expected = torch.cat([expected[0, 30:], expected[1]]).mean()
    assert gaussian_nll(predicted, target, std, torch.ones(2)).item() == pytest.approx(expected.item())


def test_direction_loss_without_anisotropy_is_the_euclidean_distance() -> None:
    target, predicted = random_points(0, 3), random_points(1, 3)
    distance = (predicted - target).norm(dim=-1).mean()
    found = direction_loss(predicted, target, torch.ones(2), anisotropy=1.0, smooth=1e-9)
    assert found.item() == pytest.approx(distance.item(), rel=1e-6)


def test_direction_loss_splits_normal_and_tangent() -> None:
    # A jaw along x: the normal of its inner points is y. With a = 3 the factors are 1.5 and 0.5.
    target = torch.full((1, 68, 2), torch.nan)
    target[0, :17] = torch.stack([torch.arange(17.0) * 5, torch.zeros(17)], -1)
    assert contour_normals(target)[0, 1:16].abs().tolist() == [[0.0, 1.0]] * 15
    for error, factor in (([0.0, 4.0], 1.5), ([4.0, 0.0], 0.5)):
        found = direction_loss(target + torch.tensor(error), target, ONE, anisotropy=3.0, smooth=1e-9)
        assert found.item() == pytest.approx(4 * factor**0.5, rel=1e-5)


def test_closed_contours_have_normals_across_them() -> None:
    angle = torch.arange(6) * torch.pi / 3
    target = torch.zeros(1, 68, 2)
    target[0, 36:42] = torch.stack([angle.cos(), angle.sin()], -1)
    radial = (contour_normals(target)[0, 36:42] * target[0, 36:42]).sum(-1)
    torch.testing.assert_close(radial.abs(), torch.ones(6))


def test_pfld_weighs_distances_by_the_error_of_the_angles() -> None:
    target = torch.zeros(2, 68, 2)
    predicted = target + torch.tensor([3.0, 4.0])
    angles = torch.tensor([[0.0, torch.pi / 2, 0.0], [1.0, 2.0, 3.0]])
    true = torch.tensor([[0.0, 0.0, 0.0], [torch.nan, 0.0, 0.0]])
    # 25 * (1 - cos 90 degrees), and 25 * 1 for unknown angles.
    assert pfld(predicted, target, angles, true, torch.tensor([1.0, 0.0])).item() == pytest.approx(25)
    assert pfld(predicted, target, angles, true, torch.tensor([0.0, 1.0])).item() == pytest.approx(25)
    assert pfld(predicted, target, true.nan_to_num(), true, torch.tensor([1.0, 0.0])).item() == pytest.approx(
        0, abs=1e-5
    )


def test_rare_groups_weigh_more() -> None:
    groups = torch.tensor([[True, False], [True, False], [True, False], [False, True]])
    weight = rarity(groups)
    assert weight.mean().item() == pytest.approx(1)
    assert (weight[3] / weight[0]).item() == pytest.approx(3)
    torch.testing.assert_close(rarity(torch.zeros(4, 2, dtype=torch.bool)), torch.ones(4))


def test_adaptive_wing_is_smooth_at_its_limit_and_zero_at_the_target() -> None:
    for true in (0.0, 0.4, 1.0):
        target = torch.full((1,), true, dtype=torch.float64)
        assert adaptive_wing(target, target).item() == pytest.approx(0, abs=1e-9)
        below, above = (adaptive_wing(target + x, target) for x in (0.5 - 1e-6, 0.5 + 1e-6))
        slope = (above - below) / 2e-6
        x = torch.tensor([true + 0.4999], dtype=torch.float64, requires_grad=True)
        adaptive_wing(x, target).backward()
        assert x.grad is not None
        assert x.grad.item() == pytest.approx(slope.item(), rel=1e-2)
    # By hand for y = 0, |x| = 0.5: 14 ln(1 + 0.5^2.1).
    half = torch.tensor([0.5], dtype=torch.float64)
    assert adaptive_wing(half - 1e-9, torch.zeros(1)).item() == pytest.approx(14 * math.log(1 + 0.5**2.1), abs=1e-6)


def test_gradients_against_finite_differences() -> None:
    target, weight = random_points(0, 3), torch.tensor([1.0, 0.5], dtype=torch.float64)
    target[0, :5] = torch.nan
    predicted = (random_points(1, 3)).requires_grad_()
    std = (1 + torch.rand(2, 68, dtype=torch.float64)).requires_grad_()
    angles = torch.rand(2, 3, dtype=torch.float64, requires_grad=True)
    true_angles = torch.rand(2, 3, dtype=torch.float64)
    check = torch.autograd.gradcheck
    assert check(lambda p: wing(p, target, weight), predicted)
    assert check(lambda p: smooth_l1(p, target, weight), predicted)
    assert check(lambda p: direction_loss(p, target, weight), predicted)
    assert check(lambda p, s: gaussian_nll(p, target, s, weight), (predicted, std))
    assert check(lambda p, a: pfld(p, target, a, true_angles, weight), (predicted, angles))
    heatmap = torch.rand(2, 4, 5, 5, dtype=torch.float64, requires_grad=True)
    assert check(
        lambda h: adaptive_wing(h, torch.rand(2, 4, 5, 5, generator=torch.Generator().manual_seed(3)).double()), heatmap
    )
