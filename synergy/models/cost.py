"""Size of a network: its weights, and the multiply-accumulates (MACs) of one forward pass."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode


def count_weights(module: nn.Module) -> int:
    """Return the number of learned weights of a module, without its buffers.

    Example:
        >>> count_weights(nn.Linear(3, 2))
        8
    """
    return sum(weight.numel() for weight in module.parameters())


def count_macs(module: nn.Module, *inputs: Tensor) -> int:
    """Return the multiply-accumulates of `module(*inputs)` in evaluation mode.

    Convolutions, linear layers and matrix products are counted. BatchNorm is not counted, because it can be merged
    into the layer before it.

    Example:
        >>> count_macs(nn.Linear(3, 2), torch.zeros(5, 3))
        30
    """
    was_training = module.training
    try:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            module.eval()(*inputs)
    finally:
        module.train(was_training)
    return int(counter.get_total_flops()) // 2
