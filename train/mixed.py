"""Mixed precision where it pays: strided depthwise convolutions stay in float32."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Float32Conv2d(nn.Conv2d):
    """A convolution that leaves autocast.

    oneDNN's bf16 input gradient of a strided depthwise convolution falls back to a reference kernel: 53 ms against
    2.9 ms in float32 (64 x 64 x 40 x 40, stride 2, one core of an AVX512-BF16 CPU). The four of a MobileNetV1 took half
    of the whole step.
    """

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 torch's name
        with torch.autocast(input.device.type, enabled=False):
            return super().forward(input.float())


def keep_strided_depthwise_in_float32(net: nn.Module) -> None:
    """Turn the strided depthwise convolutions of a network into `Float32Conv2d`, in place; its state is unchanged."""
    for module in net.modules():
        if type(module) is nn.Conv2d and module.groups > 1 and module.stride != (1, 1):
            module.__class__ = Float32Conv2d
