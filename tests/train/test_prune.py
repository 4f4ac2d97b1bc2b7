"""Pruning of a wide MobileNetV1."""

from __future__ import annotations

import torch
from torch import nn

from synergy.models import MobileNetV1
from train.prune import can_prune, prune_backbone, reestimate_batch_norm


def wide_with_dead_channels(narrow: MobileNetV1, wide: MobileNetV1) -> None:
    """Give every layer of a wide network as many active channels as the narrow one has; the others are constant."""
    torch.manual_seed(0)
    for name, layer in wide.named_children():
        if isinstance(layer, nn.BatchNorm2d):
            n = narrow.get_submodule(name).num_features
            active = torch.randperm(layer.num_features)[:n] if wide[int(name) - 1].groups == 1 else None
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.uniform_(layer.bias, -0.5, 0.5)
            layer.running_mean.uniform_(-0.2, 0.2)
            if active is not None:
                dead = torch.ones(layer.num_features, dtype=torch.bool)
                dead[active] = False
            with torch.no_grad():
                layer.weight[dead] = 0
                layer.bias[dead] = 0 if wide[int(name) - 1].groups == 1 else 0.02


def test_pruning_of_dead_channels_changes_nothing() -> None:
    wide, narrow = MobileNetV1(0.5).eval(), MobileNetV1(0.25).eval()
    wide_with_dead_channels(narrow, wide)
    # A weights file has no counts of batches.
    assert can_prune({name: value for name, value in wide.state_dict().items() if "num_batches" not in name}, narrow)
    kept = prune_backbone(wide.state_dict(), narrow)
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(narrow(images), wide(images)[:, kept], atol=1e-4, rtol=1e-3)


def test_what_can_be_pruned() -> None:
    narrow = MobileNetV1(0.25)
    assert not can_prune(narrow.state_dict(), narrow)
    assert not can_prune(MobileNetV1(0.125).state_dict(), narrow)
    assert not can_prune({"0.weight": torch.zeros(8, 3, 3, 3)}, narrow)


def test_reestimated_statistics_are_those_of_the_batches() -> None:
    net = MobileNetV1(0.25)
    batches = [torch.randn(16, 3, 32, 32) * 3 + 1 for _ in range(4)]
    reestimate_batch_norm(net, net, batches)
    first = net[0](torch.cat(batches))
    torch.testing.assert_close(net[1].running_mean, first.mean((0, 2, 3)), atol=1e-4, rtol=1e-4)
    assert net[1].momentum == 0.1
