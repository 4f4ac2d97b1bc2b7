"""MobileNetV3-small and Xception: parameter counts and multiply-adds of their papers."""

from __future__ import annotations

import pytest
import torch

from synergy.models.backbone import build_backbone
from synergy.models.cost import count_macs, count_weights


# MobileNetV3 (table 4): 2.5 M parameters, 56 M multiply-adds at 224 px. Xception (table 3): 22,855,952 parameters.
@pytest.mark.parametrize(
    ("name", "n_features", "classifier", "total"),
    [("mobilenet_v3_small", 1024, 1024 * 1000 + 1000, 2_542_856), ("xception", 2048, 2048 * 1000 + 1000, 22_855_952)],
)
def test_parameter_counts_of_the_papers(name: str, n_features: int, classifier: int, total: int) -> None:
    net = build_backbone(name, 1.0)
    assert net.n_features == n_features
    assert count_weights(net) + classifier == total


def test_multiply_adds_of_mobilenet_v3() -> None:
    net = build_backbone("mobilenet_v3_small", 1.0)
    macs = count_macs(net, torch.zeros(1, 3, 224, 224)) + 1024 * 1000
    assert macs / 1e6 == pytest.approx(56, abs=1)


@pytest.mark.parametrize(("name", "width", "n_features"), [("mobilenet_v3_small", 0.5, 1024), ("xception", 0.125, 256)])
def test_features_of_narrow_backbones(name: str, width: float, n_features: int) -> None:
    net = build_backbone(name, width).eval()
    assert net(torch.rand(2, 3, 120, 120)).shape == (2, n_features) == (2, net.n_features)
