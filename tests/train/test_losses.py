"""Losses against values worked out by hand, masks, and gradients."""

from __future__ import annotations

import math

import pytest
import torch

from train.losses import parameter_importance, rms, vdc, wing, wpdc

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
