"""MobileNetV1 and V2 feature extractors with a width multiplier, images in, pooled features out.

V1: Howard et al. 2017 (arXiv 1704.04861), table 1. V2: Sandler et al. 2018 (arXiv 1801.04381), table 2.
Both are used at 120 x 120 here; a strided 3x3 stem and 32-fold reduction leave a 4 x 4 map, which is averaged.
"""

from __future__ import annotations

from torch import Tensor, nn

# (output channels, stride) of the 13 depthwise separable blocks.
_V1_BLOCKS = (
    (64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2),
    (512, 1), (512, 1), (512, 1), (512, 1), (512, 1), (1024, 2), (1024, 1),
)  # fmt: skip
# (expansion, output channels, repeats, stride of the first) of the inverted residual stages.
_V2_STAGES = (
    (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1),
)  # fmt: skip


def _conv_bn(n_in: int, n_out: int, kernel: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    padding = kernel // 2
    return [nn.Conv2d(n_in, n_out, kernel, stride, padding, groups=groups, bias=False), nn.BatchNorm2d(n_out)]


def _scaled(channels: int, width: float) -> int:
    """Channels times width, rounded to a multiple of 8 but never down by more than a tenth (MobileNetV2's rule)."""
    rounded = max(8, int(channels * width + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels * width else rounded


class MobileNetV1(nn.Sequential):
    """Images (B, 3, H, W) to features (B, `n_features`); `n_features` is 1024 times the width."""

    def __init__(self, width: float = 1.0) -> None:
        channels = int(32 * width)
        layers = [*_conv_bn(3, channels, 3, stride=2), nn.ReLU(inplace=True)]
        for n_out, stride in _V1_BLOCKS:
            n_out = int(n_out * width)
            layers += [*_conv_bn(channels, channels, 3, stride, groups=channels), nn.ReLU(inplace=True)]
            layers += [*_conv_bn(channels, n_out, 1), nn.ReLU(inplace=True)]
            channels = n_out
        super().__init__(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.n_features = channels


class InvertedResidual(nn.Module):
    """Expand by 1x1, filter depthwise by 3x3, project by a linear 1x1; added to the input where shapes agree."""

    def __init__(self, n_in: int, n_out: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = n_in * expansion
        layers: list[nn.Module] = []
        if expansion != 1:
            layers += [*_conv_bn(n_in, hidden, 1), nn.ReLU6(inplace=True)]
        layers += [*_conv_bn(hidden, hidden, 3, stride, groups=hidden), nn.ReLU6(inplace=True)]
        self.body = nn.Sequential(*layers, *_conv_bn(hidden, n_out, 1))
        self.is_residual = stride == 1 and n_in == n_out

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.body(x)
        return x + y if self.is_residual else y


class MobileNetV2(nn.Sequential):
    """Images (B, 3, H, W) to features (B, `n_features`); `n_features` is 1280, more for a width above 1."""

    def __init__(self, width: float = 1.0) -> None:
        channels = _scaled(32, width)
        layers = [*_conv_bn(3, channels, 3, stride=2), nn.ReLU6(inplace=True)]
        for expansion, n_out, repeats, first_stride in _V2_STAGES:
            n_out = _scaled(n_out, width)
            for i in range(repeats):
                layers.append(InvertedResidual(channels, n_out, first_stride if i == 0 else 1, expansion))
                channels = n_out
        last = _scaled(1280, max(1.0, width))
        layers += [*_conv_bn(channels, last, 1), nn.ReLU6(inplace=True)]
        super().__init__(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.n_features = last


Backbone = MobileNetV1 | MobileNetV2
_BACKBONES: dict[str, type[Backbone]] = {"mobilenet_v1": MobileNetV1, "mobilenet_v2": MobileNetV2}


def build_backbone(name: str, width: float) -> Backbone:
    """The feature extractor called `name` ("mobilenet_v1" or "mobilenet_v2") at a width multiplier."""
    if name not in _BACKBONES:
        raise ValueError(f"unknown backbone '{name}', choose from {', '.join(_BACKBONES)}")
    return _BACKBONES[name](width)
