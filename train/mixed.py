"""Mixed precision that leaves strided depthwise convolutions in float32."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Float32Conv2d(nn.Conv2d):
    """A convolution that computes in float32 under autocast.

    oneDNN has no fast bf16 kernel for the input gradient of a strided depthwise convolution on the CPU.
    docs/journal.md has the times.
    """

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 torch's name
        """Run `nn.Conv2d.forward` on the input in float32, with autocast switched off."""
        with torch.autocast(input.device.type, enabled=False):
            return super().forward(input.float())


def keep_strided_depthwise_in_float32(net: nn.Module) -> None:
    """Replace the strided depthwise convolutions of a network by `Float32Conv2d`, in place. Its state is unchanged."""
    for module in net.modules():
        if type(module) is nn.Conv2d and module.groups > 1 and module.stride != (1, 1):
            module.__class__ = Float32Conv2d
