"""The linear refit of the expression head: optimal for the labels, and without effect on anything else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from bfm_assets import MorphableModel
from synergy.errors import UserError
from synergy.models import SynergyNet
from synergy.parameters import split_parameters
from train.data import FaceDataset
from train.export import export_checkpoint
from train.expression_head import refit_expression_head
from train.regression import ridge_regression


def make_faces(model: MorphableModel, n: int) -> FaceDataset:
    """Random crops with random labels; the weight of every third label is 0 and its parameters are far off."""
    random = torch.Generator().manual_seed(3)
    images = torch.randint(0, 256, (n, 32, 32, 3), generator=random, dtype=torch.uint8)
    params = torch.randn(n, 12 + model.n_shape + model.n_expression, generator=random)
    params[::3] += 100
    weight = torch.ones(n)
    weight[::3] = 0
    params[1] = torch.nan
    labels = {"landmarks": torch.zeros(n, 68, 3), "visibility": torch.zeros(n, 68), "params": params, "weight": weight}
    labels |= {"annotated68": torch.zeros(n, 68, 2), "yaw": torch.zeros(n)}
    return FaceDataset(images.numpy(), labels)


def test_the_head_is_the_regression_of_the_known_labels(symmetric: MorphableModel) -> None:
    torch.manual_seed(0)
    net = SynergyNet(symmetric, width=0.25).eval()
    net.set_whitening(torch.zeros_like(net.param_mean) + 0.5, torch.full_like(net.param_std, 2.0))
    faces = make_faces(symmetric, 90)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    assert refit_expression_head(net, faces) == 59
    changed = {name for name, tensor in net.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed == {"expression_head.weight", "expression_head.bias"}

    # Independent computation: rows for the penalty, and numpy's least squares.
    batch = faces[[i for i in range(90) if i % 3 and i != 1]]
    with torch.no_grad():
        x = net.features(batch.image).double().numpy()
        got = net.expression_head(net.features(batch.image)).numpy()
    y = split_parameters(((batch.params - 0.5) / 2).double(), symmetric.n_shape)[2].numpy()
    centred = x - x.mean(0)
    penalty = np.sqrt(1e-4 * centred.var(0).mean() * len(x)) * np.eye(x.shape[1])
    target = np.concatenate([y - y.mean(0), np.zeros((x.shape[1], y.shape[1]))])
    solution = np.linalg.lstsq(np.concatenate([centred, penalty]), target)[0]
    np.testing.assert_allclose(got, centred @ solution + y.mean(0), atol=2e-3)


def test_weights_of_the_regression_count_rows() -> None:
    torch.manual_seed(0)
    x, y = torch.randn(40, 5), torch.randn(40, 2)
    count = torch.arange(40) % 3
    repeated = ridge_regression(x.repeat_interleave(count, 0), y.repeat_interleave(count, 0), 0.1)
    for got, expected in zip(ridge_regression(x, y, 0.1, count), repeated, strict=True):
        torch.testing.assert_close(got, expected)


def test_without_labels_there_is_one_line(symmetric: MorphableModel) -> None:
    faces = make_faces(symmetric, 3)
    faces.labels["weight"].zero_()
    with pytest.raises(UserError, match="no training sample of the pack has 3DMM parameters"):
        refit_expression_head(SynergyNet(symmetric, width=0.25).eval(), faces)


def test_an_export_with_the_refit(model_file: Path, symmetric: MorphableModel, pack: Path, tmp_path: Path) -> None:
    net = SynergyNet(symmetric, width=0.25)
    options = {"model": str(model_file), "backbone": "mobilenet_v1", "width": 0.25, "seed": 0, "mixed": False}
    state = {f"net.{name}": value for name, value in net.state_dict().items()}
    content = {"state_dict": state, "hyper_parameters": options, "global_step": 7, "git": "abc"}
    torch.save(content, tmp_path / "run.ckpt")
    out = tmp_path / "weights.safetensors"
    facts = export_checkpoint(tmp_path / "run.ckpt", pack, out, refit_expression=pack)
    assert facts["training"]["expression_head"]["faces"] > 0
