"""SynergyNet's layout against a forward pass written from the public layer names and the released code's quirks."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from synergy.compat import load_synergynet
from synergy.compat.synergynet import PublicMAFA
from synergy.errors import UserError
from synergy.models.cost import count_macs, count_weights

State = dict[str, Tensor]
STRIDED = (2, 4, 7, 14)  # the first blocks of the stages that halve the map


def _public_backbone(state: State, rgb: Tensor, run: Callable[..., Tensor]) -> tuple[Tensor, Tensor]:
    """Pooled feature (B, 1280) and whitened parameters (B, 62)."""
    features = "I2P.backbone.features"
    x = (rgb.float()[:, [2, 1, 0]] - 127.5) / 128
    x = run(state, x, f"{features}.0.0", f"{features}.0.1", 2).clamp(0, 6)
    for i in range(1, 18):
        conv, y, k = f"{features}.{i}.conv", x, int(i > 1)
        if i > 1:
            y = run(state, y, f"{conv}.0.0", f"{conv}.0.1").clamp(0, 6)
        y = run(state, y, f"{conv}.{k}.0", f"{conv}.{k}.1", 2 if i in STRIDED else 1).clamp(0, 6)
        y = run(state, y, f"{conv}.{k + 1}", f"{conv}.{k + 2}")
        x = x + y if x.shape == y.shape else y
    feature = run(state, x, f"{features}.18.0", f"{features}.18.1").clamp(0, 6).mean((2, 3))
    heads = [f"I2P.backbone.classifier_{head}.1" for head in ("ori", "shape", "exp")]
    return feature, torch.cat([feature @ state[f"{h}.weight"].T + state[f"{h}.bias"] for h in heads], 1)


def _public_points(state: State, points: Tensor, run: Callable[..., Tensor]) -> tuple[Tensor, Tensor]:
    """Point features (B, 64, 68) and global feature (B, 1024, 1) of points (B, 3, 68)."""
    x = points
    outputs = []
    for i in range(1, 6):
        x = run(state, x, f"forwardDirection.conv{i}", f"forwardDirection.bn{i}").relu()
        outputs.append(x)
    return outputs[1], x.amax(2, keepdim=True)


def _public_mafa(state: State, points: Tensor, feature: Tensor, whitened: Tensor, run: Callable[..., Tensor]) -> Tensor:
    point, whole = _public_points(state, points, run)
    face = torch.cat([whole.squeeze(2), feature, whitened[:, 12:52], whitened[:, 52:62]], 1)
    x = torch.cat([point, face.unsqueeze(2).repeat(1, 1, 68)], 1)
    for i in range(6, 10):
        x = run(state, x, f"forwardDirection.conv{i}", f"forwardDirection.bn{i}").relu()
    return points + 0.05 * x


@pytest.fixture
def path(synergynet_state, save):
    return save(synergynet_state)


def test_backbone_is_the_public_one(path, synergynet_state, run_layers, bfm, whitening, crops) -> None:
    with torch.no_grad():
        output = load_synergynet(path, bfm, whitening)(crops)
        _feature, expected = _public_backbone(synergynet_state, crops, run_layers)
    torch.testing.assert_close(output.whitened, expected, atol=1e-4, rtol=1e-4)
    assert output.whitened.std() > 0.1
    assert torch.equal(output.landmarks, output.coarse)


def test_mafa_is_the_public_one(path, synergynet_state, run_layers, bfm, whitening, crops) -> None:
    network = load_synergynet(path, bfm, whitening, refine=True)
    with torch.no_grad():
        output = network(crops)
        feature, whitened = _public_backbone(synergynet_state, crops, run_layers)
        # the released code works in 1-based pixels with the depth where the translation puts it
        points = network.project(output.params) + torch.tensor([1.0, 1.0, 0.0])
        refined = _public_mafa(synergynet_state, points.transpose(1, 2), feature, whitened, run_layers)
    expected = refined.transpose(1, 2) - torch.tensor([1.0, 1.0, 0.0])
    expected[..., 2] -= expected[..., 2].mean(1, keepdim=True)
    torch.testing.assert_close(output.landmarks, expected, atol=1e-3, rtol=1e-4)
    residual = output.landmarks - output.coarse
    assert residual[..., :2].min() >= -1e-4  # BatchNorm and ReLU on the output: never negative
    assert residual.abs().max() > 1e-3


def test_whitening_comes_with_the_checkpoint(path, synergynet_state, save, bfm, crops) -> None:
    network = load_synergynet(path, bfm)
    assert torch.equal(network.param_std, synergynet_state["param_std"])
    assert network.param_mean[3] == synergynet_state["param_mean"][3] - 1
    bare = {key: value for key, value in synergynet_state.items() if key != "param_std"}
    with pytest.raises(UserError, match="has no whitening"):
        load_synergynet(save(bare), bfm)


def test_modes_other_than_the_checkpoints_are_refused(synergynet_state, save, bfm, whitening) -> None:
    carried = {
        "u_base": torch.from_numpy(bfm.mean).reshape(204, 1),
        "w_shp_base": torch.from_numpy(bfm.shape_basis).reshape(204, -1)[:, :40],
        "w_exp_base": torch.from_numpy(bfm.expression_basis).reshape(204, -1)[:, :10],
    }
    load_synergynet(save(synergynet_state | carried), bfm, whitening)
    other = carried | {"w_exp_base": carried["w_exp_base"].flip(1)}
    with pytest.raises(UserError, match=r"other modes than those of 'random' \(w_exp_base differs\)"):
        load_synergynet(save(synergynet_state | other), bfm, whitening)


def test_another_backbone_is_one_line(save, bfm) -> None:
    with pytest.raises(UserError, match="not a SynergyNet MobileNetV2 checkpoint"):
        load_synergynet(save({"I2P.backbone.conv1.weight": torch.ones(1)}), bfm)


def test_costs_are_the_published_ones(path, bfm, whitening, crops) -> None:
    network = load_synergynet(path, bfm, whitening)
    assert count_weights(network) == pytest.approx(2.30e6, abs=0.005e6)
    assert count_macs(network, crops[:1]) == pytest.approx(93e6, abs=0.5e6)
    points, feature, coefficients = torch.zeros(1, 68, 3), torch.zeros(1, 1280), torch.zeros(1, 50)
    mafa = PublicMAFA()
    assert count_weights(mafa) == pytest.approx(1.56e6, abs=0.005e6)
    assert count_macs(mafa, points, feature, coefficients) == pytest.approx(105e6, abs=0.5e6)
