"""MobileNetV3-small with a width multiplier (Howard et al. 2019, arXiv 1905.02244, table 2): images to features."""

from __future__ import annotations

from torch import Tensor, nn

from synergy.models.mobilenet import conv_bn, scaled_channels

# Kernel, hidden channels, output channels, squeeze and excitation, hard swish, stride of the 11 blocks.
_BLOCKS = (
    (3, 16, 16, True, False, 2), (3, 72, 24, False, False, 2), (3, 88, 24, False, False, 1), (5, 96, 40, True, True, 2),
    (5, 240, 40, True, True, 1), (5, 240, 40, True, True, 1), (5, 120, 48, True, True, 1), (5, 144, 48, True, True, 1),
    (5, 288, 96, True, True, 2), (5, 576, 96, True, True, 1), (5, 576, 96, True, True, 1),
)  # fmt: skip


class SqueezeExcitation(nn.Module):
    """Scale each channel by a factor that a small network computes from the means of all channels.

    Args:
        channels: number of channels.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = scaled_channels(channels / 4)
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels, hidden, 1), nn.ReLU(inplace=True),
            nn.Conv2d(hidden, channels, 1), nn.Hardsigmoid(inplace=True),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape."""
        gate: Tensor = self.gate(x)
        return x * gate


class Block(nn.Module):
    """MobileNetV3's block: 1x1 expansion, depthwise convolution, squeeze and excitation, linear 1x1 projection.

    The input is added to the output if both have the same shape.

    Args:
        n_in: input channels.
        kernel: side of the depthwise kernel.
        hidden: hidden channels. There is no expansion layer if they equal the input channels.
        n_out: output channels.
        excite: whether there is squeeze and excitation.
        swish: hard swish instead of ReLU.
        stride: of the depthwise convolution.
    """

    def __init__(self, n_in: int, kernel: int, hidden: int, n_out: int, excite: bool, swish: bool, stride: int) -> None:
        super().__init__()
        activation = nn.Hardswish if swish else nn.ReLU
        layers: list[nn.Module] = []
        if hidden != n_in:
            layers += [*conv_bn(n_in, hidden, 1), activation(inplace=True)]
        layers += [*conv_bn(hidden, hidden, kernel, stride, groups=hidden), activation(inplace=True)]
        if excite:
            layers.append(SqueezeExcitation(hidden))
        self.body = nn.Sequential(*layers, *conv_bn(hidden, n_out, 1))
        self.is_residual = stride == 1 and n_in == n_out

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, n_in, H, W) to (B, n_out, H / stride, W / stride)."""
        y: Tensor = self.body(x)
        return x + y if self.is_residual else y


class MobileNetV3Small(nn.Sequential):
    """MobileNetV3-small without its classifier: images (B, 3, H, W) to features (B, n_features).

    The last hidden layer (576 to 1024 features at width 1) belongs to the features.

    Args:
        width: width multiplier.

    Attributes:
        n_features: number of features, 1024, or 1024 times the width for a width above 1.
    """

    def __init__(self, width: float = 1.0) -> None:
        channels = scaled_channels(16 * width)
        layers: list[nn.Module] = [*conv_bn(3, channels, 3, stride=2), nn.Hardswish(inplace=True)]
        for kernel, hidden, n_out, excite, swish, stride in _BLOCKS:
            hidden, n_out = scaled_channels(hidden * width), scaled_channels(n_out * width)
            layers.append(Block(channels, kernel, hidden, n_out, excite, swish, stride))
            channels = n_out
        wide, last = scaled_channels(576 * width), scaled_channels(1024 * max(1.0, width))
        layers += [*conv_bn(channels, wide, 1), nn.Hardswish(inplace=True)]
        layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(wide, last), nn.Hardswish(inplace=True)]
        super().__init__(*layers)
        self.n_features = last
