"""3DDFA_V2's layout against a forward pass written from the public layer names; the real weights where they are."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from bfm_assets import read_bfm68
from synergy.compat import load_tddfa_v2
from synergy.compat.whitening import read_whitening
from synergy.errors import UserError
from synergy.models.cost import count_macs, count_weights

WEIGHTS = os.environ.get("SYNERGY_TDDFA_V2_WEIGHTS", "")
STRIDES = {"dw2_2": 2, "dw3_2": 2, "dw4_2": 2, "dw5_6": 2}


def _public_forward(state: dict[str, Tensor], rgb: Tensor, run: Callable[..., Tensor]) -> Tensor:
    x = (rgb.float()[:, [2, 1, 0]] - 127.5) / 128
    x = run(state, x, "conv1", "bn1", 2).relu()
    for block in dict.fromkeys(key.split(".")[0] for key in state if key.startswith("dw")):
        x = run(state, x, f"{block}.conv_dw", f"{block}.bn_dw", STRIDES.get(block, 1)).relu()
        x = run(state, x, f"{block}.conv_sep", f"{block}.bn_sep").relu()
    return x.mean((2, 3)) @ state["fc_param.weight"].T + state["fc_param.bias"]


@pytest.mark.parametrize("width", [1.0, 0.5, 0.25])
def test_whitened_parameters_are_public_ones(width, tddfa_v2_state, save, run_layers, bfm, whitening, crops) -> None:
    state = tddfa_v2_state(width)
    with torch.no_grad():
        output = load_tddfa_v2(save(state), bfm, whitening)(crops)
        expected = _public_forward(state, crops, run_layers)
    torch.testing.assert_close(output.whitened, expected, atol=1e-4, rtol=1e-4)
    assert output.whitened.std() > 0.1


def test_landmarks_are_the_public_ones_in_our_pixels(tddfa_v2_state, save, bfm, whitening, crops) -> None:
    with torch.no_grad():
        output = load_tddfa_v2(save(tddfa_v2_state(0.25)), bfm, whitening)(crops)
    public = output.whitened.numpy() * whitening.std + whitening.mean
    for i, params in enumerate(public):
        pose = params[:12].reshape(3, 4)
        face = bfm.vertices(params[12:52], params[52:])
        placed = face @ pose[:, :3].T + pose[:, 3]
        # `similar_transform` of 3DDFA_V2 for a box of the crop's own size
        expected = np.stack([placed[:, 0] - 1, 120 - placed[:, 1], placed[:, 2] - placed[:, 2].mean()], 1)
        np.testing.assert_allclose(output.landmarks[i].numpy(), expected, rtol=1e-4, atol=1e-2)
        np.testing.assert_allclose(output.params[i].numpy(), params - np.eye(62)[3], rtol=1e-5, atol=1e-5)
    assert output.coarse is output.landmarks or torch.equal(output.coarse, output.landmarks)


@pytest.mark.parametrize(
    ("width", "n_parameters", "n_macs"), [(1.0, 3.27e6, 177.4e6), (0.5, 0.85e6, 46.5e6)], ids=["mb1", "mb05"]
)
def test_cost_is_the_published_one(width, n_parameters, n_macs, tddfa_v2_state, save, bfm, whitening, crops) -> None:
    network = load_tddfa_v2(save(tddfa_v2_state(width)), bfm, whitening)
    assert count_weights(network) == pytest.approx(n_parameters, abs=0.005e6)
    # 10 k to 30 k more than the backbone and head alone: the 68 points
    assert count_macs(network, crops[:1]) == pytest.approx(n_macs, abs=0.1e6)


def test_head_may_be_called_fc(tddfa_v2_state, save, bfm, whitening, crops) -> None:
    state = tddfa_v2_state(0.25)
    renamed = {key.replace("fc_param", "fc"): value for key, value in state.items() if "fc_lm" not in key}
    with torch.no_grad():
        one = load_tddfa_v2(save(state), bfm, whitening)(crops)
        other = load_tddfa_v2(save(renamed), bfm, whitening)(crops)
    assert torch.equal(one.whitened, other.whitened)


def test_incomplete_and_foreign_checkpoints_are_one_line(tddfa_v2_state, save, bfm, whitening) -> None:
    state = tddfa_v2_state(0.25)
    del state["dw4_1.conv_sep.weight"]
    with pytest.raises(UserError, match="it has no 'backbone"):
        load_tddfa_v2(save(state), bfm, whitening)
    state = tddfa_v2_state(0.25) | {"dw6.bn_sep.weight": torch.ones(3)}
    with pytest.raises(UserError, match=r"\(3,\), expected"):
        load_tddfa_v2(save(state), bfm, whitening)
    with pytest.raises(UserError, match=r"no 'conv1\.weight'"):
        load_tddfa_v2(save({"layer.weight": torch.ones(1)}), bfm, whitening)


@pytest.mark.skipif(not WEIGHTS, reason="set SYNERGY_TDDFA_V2_WEIGHTS to 3DDFA_V2's mb05_120x120.pth")
def test_real_weights_reproduce_their_recorded_parameters(shared_data: Path) -> None:
    import cv2

    basis = shared_data / "bfm68_basis.npz"
    network = load_tddfa_v2(WEIGHTS, read_bfm68(basis), read_whitening(basis))
    recorded = np.load(shared_data / "aflw_val_teacher.npz")
    with tarfile.open(shared_data / "aflw_val.tar") as archive:
        members = {member.name: member for member in archive}
        names = [next(m for m in members if m.endswith(str(name))) for name in recorded["names"][:50]]
        encoded = [np.frombuffer(archive.extractfile(name).read(), np.uint8) for name in names]
    images = np.stack([cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1] for data in encoded])
    with torch.no_grad():
        params = network(torch.from_numpy(images).permute(0, 3, 1, 2)).params
    expected = torch.from_numpy(recorded["params62"][:50])
    expected[:, 3] -= 1
    assert ((params - expected) / network.param_std).abs().max() < 1e-4
