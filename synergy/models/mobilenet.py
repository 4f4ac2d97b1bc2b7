"""MobileNetV1 and MobileNetV2 with a width multiplier, from images to pooled features.

V1: Howard et al. 2017 (arXiv 1704.04861), table 1. V2: Sandler et al. 2018 (arXiv 1801.04381), table 2.
V1 and V2 reduce the image 32-fold. At 120x120 pixels a 4x4 feature map is left, which is averaged.
"mobilenet_v1_small" is V1 with fewer channels and a first convolution of 5x5 pixels and stride 3, chosen by its time in
onnxruntime (docs/journal.md). It reduces the image 48-fold, to 3x3.
"""

from __future__ import annotations

from torch import Tensor, nn

# Stride of the 13 depthwise separable blocks.
_V1_STRIDES = (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1)
# Output channels of the first convolution and of the 13 blocks.
_V1_CHANNELS = (32, 64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024)
# Fewer channels, most of all where the feature maps are large: a CPU needs more time for a multiplication there.
SMALL_CHANNELS = (24, 32, 64, 64, 128, 128, 320, 320, 320, 320, 320, 320, 512, 512)
# Kernel size and stride of the first convolution.
_V1_STEM = (3, 2)
SMALL_STEM = (5, 3)
# Expansion, output channels, number of blocks and stride of the first block of each stage of inverted residuals.
_V2_STAGES = (
    (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1),
)  # fmt: skip


def conv_bn(n_in: int, n_out: int, kernel: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    """Return a padded convolution without bias, and its BatchNorm."""
    padding = kernel // 2
    return [nn.Conv2d(n_in, n_out, kernel, stride, padding, groups=groups, bias=False), nn.BatchNorm2d(n_out)]


def scaled_channels(channels: float) -> int:
    """Return a number of channels rounded to a multiple of 8, but not down by more than 10 % (MobileNetV2's rule)."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


class MobileNetV1(nn.Sequential):
    """MobileNetV1 without its classifier: images (B, 3, H, W) to features (B, n_features).

    Args:
        width: width multiplier.
        channels: output channels of the first convolution and of the 13 blocks at width 1.
        stem: kernel size and stride of the first convolution.

    Attributes:
        channels: `channels` times the width.
        n_features: number of features, the last of `channels`.

    Example:
        >>> import torch
        >>> MobileNetV1(0.5)(torch.zeros(1, 3, 120, 120)).shape
        torch.Size([1, 512])
    """

    def __init__(
        self, width: float = 1.0, channels: tuple[int, ...] = _V1_CHANNELS, stem: tuple[int, int] = _V1_STEM
    ) -> None:
        scaled = tuple(int(n * width) for n in channels)
        layers = [*conv_bn(3, scaled[0], *stem), nn.ReLU(inplace=True)]
        for n_in, n_out, stride in zip(scaled[:-1], scaled[1:], _V1_STRIDES, strict=True):
            layers += [*conv_bn(n_in, n_in, 3, stride, groups=n_in), nn.ReLU(inplace=True)]
            layers += [*conv_bn(n_in, n_out, 1), nn.ReLU(inplace=True)]
        super().__init__(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.channels = scaled
        self.n_features = scaled[-1]


class InvertedResidual(nn.Module):
    """MobileNetV2's block: 1x1 expansion, 3x3 depthwise convolution and linear 1x1 projection.

    The input is added to the output if both have the same shape.

    Args:
        n_in: input channels.
        n_out: output channels.
        stride: of the depthwise convolution.
        expansion: hidden channels per input channel. There is no expansion layer for 1.
    """

    def __init__(self, n_in: int, n_out: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = n_in * expansion
        layers: list[nn.Module] = []
        if expansion != 1:
            layers += [*conv_bn(n_in, hidden, 1), nn.ReLU6(inplace=True)]
        layers += [*conv_bn(hidden, hidden, 3, stride, groups=hidden), nn.ReLU6(inplace=True)]
        self.body = nn.Sequential(*layers, *conv_bn(hidden, n_out, 1))
        self.is_residual = stride == 1 and n_in == n_out

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, n_in, H, W) to (B, n_out, H / stride, W / stride)."""
        y: Tensor = self.body(x)
        return x + y if self.is_residual else y


class MobileNetV2(nn.Sequential):
    """MobileNetV2 without its classifier: images (B, 3, H, W) to features (B, n_features).

    Args:
        width: width multiplier.

    Attributes:
        n_features: number of features, 1280, or 1280 times the width for a width above 1.
    """

    def __init__(self, width: float = 1.0) -> None:
        channels = scaled_channels(32 * width)
        layers = [*conv_bn(3, channels, 3, stride=2), nn.ReLU6(inplace=True)]
        for expansion, n_out, repeats, first_stride in _V2_STAGES:
            n_out = scaled_channels(n_out * width)
            for i in range(repeats):
                layers.append(InvertedResidual(channels, n_out, first_stride if i == 0 else 1, expansion))
                channels = n_out
        last = scaled_channels(1280 * max(1.0, width))
        layers += [*conv_bn(channels, last, 1), nn.ReLU6(inplace=True)]
        super().__init__(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.n_features = last
