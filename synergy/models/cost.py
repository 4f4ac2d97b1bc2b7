"""What a network costs: parameters and multiply-accumulates (MACs) of one forward pass."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.flop_counter import FlopCounterMode


def parameters(module: nn.Module) -> int:
    """Learned numbers in a module, buffers excluded."""
    return sum(p.numel() for p in module.parameters())


def macs(module: nn.Module, *inputs: Tensor, count_batchnorm: bool = False) -> int:
    """Multiply-accumulates of `module(*inputs)` in evaluation mode: convolutions, linear layers and matrix products.

    BatchNorm costs nothing by default, since it folds into the layer before it. `count_batchnorm` adds four for each of
    its output elements (subtract, divide, scale, shift), as the thop package does: 3DDFA_V2's published 183.5 M and
    49.5 M are counted that way.
    """
    elements = 0

    def count(_module: nn.Module, _inputs: object, output: Tensor) -> None:
        nonlocal elements
        elements += output.numel()

    norms = [m for m in module.modules() if isinstance(m, _BatchNorm)]
    hooks = [norm.register_forward_hook(count) for norm in norms]
    was_training = module.training
    try:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            module.eval()(*inputs)
    finally:
        module.train(was_training)
        for hook in hooks:
            hook.remove()
    return int(counter.get_total_flops()) // 2 + (4 * elements if count_batchnorm else 0)
