"""Counts against the published figures."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from synergy.models.cost import count_macs, count_weights
from synergy.models.mobilenet import MobileNetV1, MobileNetV2

CROP = torch.zeros(1, 3, 120, 120)


def _regressor(backbone: MobileNetV1 | MobileNetV2) -> nn.Module:
    return nn.Sequential(backbone, nn.Linear(backbone.n_features, 62))


def _batchnorm_outputs(network: nn.Module) -> int:
    """Return the number of elements that all BatchNorms of a network put out for one crop."""
    sizes: list[int] = []
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.register_forward_hook(lambda _layer, _inputs, output: sizes.append(output.numel()))
    with torch.no_grad():
        network.eval()(CROP)
    return sum(sizes)


@pytest.mark.parametrize(
    ("backbone", "n_parameters", "n_macs", "with_batchnorm"),
    [
        # SynergyNet's paper does not count BatchNorm. 3DDFA_V2's readme counts four operations for each of its outputs
        # (subtract, divide, scale, shift), as the thop package does.
        (MobileNetV2(), 2.30e6, 93.2e6, 101.1e6),
        (MobileNetV1(), 3.27e6, 177.4e6, 183.5e6),
        (MobileNetV1(0.5), 0.85e6, 46.5e6, 49.5e6),
    ],
    ids=["V2", "V1", "V1 x0.5"],
)
def test_mobilenets_cost_what_is_published(
    backbone: MobileNetV1 | MobileNetV2, n_parameters: float, n_macs: float, with_batchnorm: float
) -> None:
    network = _regressor(backbone)
    assert count_weights(network) == pytest.approx(n_parameters, abs=0.005e6)
    assert count_macs(network, CROP) == pytest.approx(n_macs, abs=0.1e6)
    assert count_macs(network, CROP) + 4 * _batchnorm_outputs(network) == pytest.approx(with_batchnorm, abs=0.1e6)


def test_counts_by_hand() -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(8))
    outputs = 8 * 5 * 5
    assert count_weights(network) == 8 * 3 * 9 + 2 * 8
    assert count_macs(network, torch.zeros(1, 3, 10, 10)) == outputs * 3 * 9


def test_leaves_the_module_as_it_was() -> None:
    network = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)).train()
    before = network[1].running_mean.clone()
    count_macs(network, torch.ones(2, 4))
    assert network.training
    assert torch.equal(network[1].running_mean, before)
