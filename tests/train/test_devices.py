"""A training step keeps to the device of its batch. The device "meta" refuses tensors of two devices, as CUDA does."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import pytest
import torch

from synergy.weights import bundled_weights
from train.data import PackData
from train.module import LossWeights, SynergyModule
from train.uncertainty_module import UncertaintyModule


@pytest.fixture
def only_shapes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace what needs values, which "meta" tensors do not have: random choices, checks of kornia, and autocast."""
    monkeypatch.setattr(torch.Tensor, "nonzero", lambda self: torch.arange(3, device=self.device)[:, None])
    monkeypatch.setattr(torch.Tensor, "__bool__", lambda self: True)
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())
    monkeypatch.setattr("train.augment._jpeg", lambda image, _: image)


def test_a_training_step_keeps_to_the_device_of_the_data(only_shapes: None, model_file: Path, pack: Path) -> None:
    module = SynergyModule(str(model_file), width=0.25, losses=LossWeights(vdc=1, wpdc=1), teacher="synergynet")
    module.to("meta")
    module.teachers[0].to("meta")
    batch = PackData(pack, str(model_file)).train_set.to("meta")[list(range(8))]
    augmented = module.augment(batch, 32)
    assert {value.device.type for value in vars(augmented).values()} == {"meta"}
    terms = module.loss_terms(augmented, module(augmented.image))
    assert "distillation" in terms
    torch.stack(list(terms.values())).sum().backward()


def test_a_step_of_the_uncertainty_heads_keeps_to_it(only_shapes: None, pack: Path) -> None:
    module = UncertaintyModule(str(bundled_weights()["synergynet"])).to("meta")
    batch = PackData(pack).train_set.to("meta")[list(range(8))]
    terms = module.training_terms(batch)
    assert {value.device.type for value in terms.values()} == {"meta"}
