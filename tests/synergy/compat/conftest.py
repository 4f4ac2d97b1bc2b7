"""Tiny stand-ins of what the compatibility layer reads: the public checkpoints' layouts, filled at random."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from bfm_assets import MorphableModel
from synergy.parameters import Whitening

State = dict[str, Tensor]
V1_BLOCKS = {
    "dw2_1": 64, "dw2_2": 128, "dw3_1": 128, "dw3_2": 256, "dw4_1": 256, "dw4_2": 512, "dw5_1": 512,
    "dw5_2": 512, "dw5_3": 512, "dw5_4": 512, "dw5_5": 512, "dw5_6": 1024, "dw6": 1024,
}  # fmt: skip
V2_STAGES = ((1, 16, 1), (6, 24, 2), (6, 32, 3), (6, 64, 4), (6, 96, 3), (6, 160, 3), (6, 320, 1))


def _conv(state: State, name: str, *shape: int, bias: bool = False) -> None:
    # Gain 2 / fan-in keeps activations of order one through the whole network.
    state[f"{name}.weight"] = torch.randn(shape) * (2 / np.prod(shape[1:])) ** 0.5
    if bias:
        state[f"{name}.bias"] = torch.randn(shape[0]) * 0.1


def _norm(state: State, name: str, n: int) -> None:
    state[f"{name}.weight"], state[f"{name}.bias"] = torch.rand(n) + 0.5, torch.randn(n) * 0.1
    state[f"{name}.running_mean"], state[f"{name}.running_var"] = torch.randn(n) * 0.1, torch.rand(n) + 0.5
    state[f"{name}.num_batches_tracked"] = torch.tensor(7)


def _tddfa_v2_state(width: float) -> State:
    state: State = {}
    n = int(32 * width)
    _conv(state, "conv1", n, 3, 3, 3)
    _norm(state, "bn1", n)
    for block, channels in V1_BLOCKS.items():
        n_out = int(channels * width)
        _conv(state, f"{block}.conv_dw", n, 1, 3, 3)
        _norm(state, f"{block}.bn_dw", n)
        _conv(state, f"{block}.conv_sep", n_out, n, 1, 1)
        _norm(state, f"{block}.bn_sep", n_out)
        n = n_out
    _conv(state, "fc_param", 62, n, bias=True)
    _conv(state, "fc_lm", 136, n, bias=True)
    return state


def _synergynet_state() -> State:
    state: State = {}
    features = "I2P.backbone.features"
    _conv(state, f"{features}.0.0", 32, 3, 3, 3)
    _norm(state, f"{features}.0.1", 32)
    n, i = 32, 1
    for expansion, n_out, repeats in V2_STAGES:
        for _ in range(repeats):
            conv, hidden = f"{features}.{i}.conv", n * expansion
            if expansion > 1:
                _conv(state, f"{conv}.0.0", hidden, n, 1, 1)
                _norm(state, f"{conv}.0.1", hidden)
            k = int(expansion > 1)
            _conv(state, f"{conv}.{k}.0", hidden, 1, 3, 3)
            _norm(state, f"{conv}.{k}.1", hidden)
            _conv(state, f"{conv}.{k + 1}", n_out, hidden, 1, 1)
            _norm(state, f"{conv}.{k + 2}", n_out)
            n, i = n_out, i + 1
    _conv(state, f"{features}.{i}.0", 1280, n, 1, 1)
    _norm(state, f"{features}.{i}.1", 1280)
    for head, n_out in (("ori", 12), ("shape", 40), ("exp", 10)):
        _conv(state, f"I2P.backbone.classifier_{head}.1", n_out, 1280, bias=True)
    encoder = ((3, 64), (64, 64), (64, 64), (64, 128), (128, 1024))
    decoder = ((2418, 512), (512, 256), (256, 128), (128, 3))
    for network, layers in (("forwardDirection", encoder + decoder), ("reverseDirection", encoder)):
        for i, (n_in, n_out) in enumerate(layers, 1):
            _conv(state, f"{network}.conv{i}", n_out, n_in, 1, bias=True)
            _norm(state, f"{network}.bn{i}", n_out)
    for i, n_out in ((1, 12), (2, 40), (3, 10)):
        _conv(state, f"reverseDirection.conv6_{i}", n_out, 1024, 1, bias=True)
        _norm(state, f"reverseDirection.bn6_{i}", n_out)
    state["param_mean"], state["param_std"] = torch.randn(62), torch.rand(62) + 0.5
    return state


@pytest.fixture
def bfm() -> MorphableModel:
    """A model of 68 random vertices with more modes than the networks use, as a whole BFM has."""
    random = np.random.default_rng(0)
    draw = lambda *shape: random.normal(size=shape).astype(np.float32)  # noqa: E731
    return MorphableModel(
        name="random",
        licence="none",
        mean=10 * draw(68, 3),
        shape_basis=draw(68, 3, 45),
        shape_std=np.ones(45, np.float32),
        expression_basis=draw(68, 3, 12),
        expression_std=np.ones(12, np.float32),
        triangles=np.empty((0, 3), np.int32),
        landmarks=np.arange(68, dtype=np.int32),
    )


@pytest.fixture
def whitening() -> Whitening:
    random = np.random.default_rng(1)
    return Whitening(random.normal(size=62).astype(np.float32), random.uniform(0.5, 2, 62).astype(np.float32))


@pytest.fixture
def save(tmp_path: Path) -> Callable[[State], Path]:
    """Writes a state dict as the public projects do: under "state_dict", trained with DataParallel."""

    def write(state: State) -> Path:
        path = tmp_path / "checkpoint.pth.tar"
        torch.save({"epoch": 80, "state_dict": {f"module.{key}": value for key, value in state.items()}}, path)
        return path

    return write


@pytest.fixture
def tddfa_v2_state() -> Callable[[float], State]:
    torch.manual_seed(0)
    return _tddfa_v2_state


@pytest.fixture
def synergynet_state() -> State:
    torch.manual_seed(0)
    return _synergynet_state()


@pytest.fixture
def crops() -> Tensor:
    """Two random RGB crops (2, 3, 120, 120) uint8."""
    return torch.randint(0, 256, (2, 3, 120, 120), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def run_layers() -> Callable[..., Tensor]:
    """Applies a public convolution and its BatchNorm by name: the reference for the loaders."""

    def run(state: State, x: Tensor, conv: str, norm: str, stride: int = 1) -> Tensor:
        weight = state[f"{conv}.weight"]
        bias = state.get(f"{conv}.bias")
        if x.dim() == 3:
            x = torch.nn.functional.conv1d(x, weight, bias)
        else:
            groups = x.shape[1] if weight.shape[1] == 1 else 1
            x = torch.nn.functional.conv2d(x, weight, bias, stride, weight.shape[-1] // 2, groups=groups)
        statistics = [state[f"{norm}.{key}"] for key in ("running_mean", "running_var", "weight", "bias")]
        return torch.nn.functional.batch_norm(x, *statistics)

    return run
