"""Xception with a width multiplier (Chollet 2017, arXiv 1610.02357, figure 5), from images to pooled features.

It reduces the image 32-fold. Convolutions are padded, so that an image of 120x120 pixels becomes a 4x4 map.
"""

from __future__ import annotations

import itertools

from torch import Tensor, nn

from synergy.models.mobilenet import conv_bn

# Channels of the two convolutions of the stem, of the three blocks of the entry flow, of the middle flow, and of the
# exit flow.
_STEM = (32, 64)
_ENTRY = (128, 256, 728)
_MIDDLE_BLOCKS = 8
_EXIT = (1024, 1536, 2048)


def _separable(n_in: int, n_out: int) -> list[nn.Module]:
    """Return a depthwise 3x3 convolution, a 1x1 convolution and BatchNorm. There is no activation between them."""
    return [nn.Conv2d(n_in, n_in, 3, padding=1, groups=n_in, bias=False), *conv_bn(n_in, n_out, 1)]


class Block(nn.Module):
    """Separable convolutions with ReLU before each, and a shortcut that is added.

    Args:
        channels: input channels, and the output channels of each convolution.
        stride: 2 halves the map by max pooling. The shortcut is then a 1x1 convolution.
        starts_with_relu: whether the first convolution has a ReLU before it.
    """

    def __init__(self, channels: tuple[int, ...], stride: int = 1, starts_with_relu: bool = True) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for i, (n_in, n_out) in enumerate(itertools.pairwise(channels)):
            # Not in place: the shortcut uses the same input.
            layers += [nn.ReLU()] if i or starts_with_relu else []
            layers += _separable(n_in, n_out)
        if stride == 2:
            layers.append(nn.MaxPool2d(3, stride=2, padding=1))
        self.body = nn.Sequential(*layers)
        self.shortcut = nn.Sequential(*(conv_bn(channels[0], channels[-1], 1, stride) if stride == 2 else ()))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, channels[0], H, W) to (B, channels[-1], H / stride, W / stride)."""
        body: Tensor = self.body(x)
        return body + self.shortcut(x)


class Xception(nn.Sequential):
    """Xception without its classifier: images (B, 3, H, W) to features (B, n_features).

    Args:
        width: width multiplier.

    Attributes:
        n_features: number of features, 2048 times the width.
    """

    def __init__(self, width: float = 1.0) -> None:
        stem, entry, exit_ = (
            tuple(max(8, int(n * width + 4) // 8 * 8) for n in channels) for channels in (_STEM, _ENTRY, _EXIT)
        )
        layers: list[nn.Module] = [*conv_bn(3, stem[0], 3, stride=2), nn.ReLU(inplace=True)]
        layers += [*conv_bn(stem[0], stem[1], 3), nn.ReLU(inplace=True)]
        n_in = stem[1]
        for i, n_out in enumerate(entry):
            layers.append(Block((n_in, n_out, n_out), stride=2, starts_with_relu=i > 0))
            n_in = n_out
        layers += [Block((n_in,) * 4) for _ in range(_MIDDLE_BLOCKS)]
        layers.append(Block((n_in, n_in, exit_[0]), stride=2))
        for n_before, n_out in itertools.pairwise(exit_):
            layers += [*_separable(n_before, n_out), nn.ReLU(inplace=True)]
        super().__init__(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.n_features = exit_[-1]
