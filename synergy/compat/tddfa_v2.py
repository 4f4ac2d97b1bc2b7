"""3DDFA_V2's public checkpoints `mb1_120x120.pth` and `mb05_120x120.pth` (Guo et al., ECCV 2020).

They are MobileNetV1 networks with one linear head.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bfm_assets import MorphableModel
from synergy.compat.checkpoint import conv_layers, load_strictly, read_state, rename_layers
from synergy.compat.network import CompatNet
from synergy.errors import UserError
from synergy.models.mobilenet import MobileNetV1
from synergy.parameters import Whitening

_BLOCKS = (
    "dw2_1", "dw2_2", "dw3_1", "dw3_2", "dw4_1", "dw4_2",
    "dw5_1", "dw5_2", "dw5_3", "dw5_4", "dw5_5", "dw5_6", "dw6",
)  # fmt: skip
_BACKBONE = (
    "conv1", "bn1", *(f"{block}.{layer}" for block in _BLOCKS for layer in ("conv_dw", "bn_dw", "conv_sep", "bn_sep")),
)  # fmt: skip


def load_tddfa_v2(path: str | Path, model: MorphableModel, whitening: Whitening[NDArray[np.float32]]) -> CompatNet:
    """Load 3DDFA_V2's MobileNetV1. Its width follows from the size of the first layer.

    Args:
        path: `mb1_120x120.pth`, `mb05_120x120.pth` or another checkpoint with the same layers.
        model: `bfm_noneck_v3.pkl`, another BFM with 3DDFA's modes, or the 68-point basis.
        whitening: the content of `param_mean_std_62d_120x120.pkl` (`synergy.compat.whitening.read_whitening`).

    Returns:
        The network in evaluation mode on the CPU.

    Raises:
        UserError: not such a checkpoint.
    """
    state = read_state(path)
    if "conv1.weight" not in state:
        raise UserError(f"{path}: not a 3DDFA_V2 MobileNetV1 checkpoint, it has no 'conv1.weight'")
    width = len(state["conv1.weight"]) / 32
    network = CompatNet(MobileNetV1(width), model, whitening, f"3ddfa-v2-mobilenet-v1-x{width:g}")
    head = "fc_param" if "fc_param.weight" in state else "fc"
    ours = [*(f"backbone.{name}" for name in conv_layers(network.backbone)), "head"]
    load_strictly(network, rename_layers(state, [*_BACKBONE, head], ours), path)
    return network.eval()
