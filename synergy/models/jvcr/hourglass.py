"""Stacked hourglasses whose outputs are score volumes of growing depth (Newell et al. 2016; Zhang et al. 2018)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn.functional import interpolate, max_pool2d

# How often an hourglass halves its maps.
_LEVELS = 4


class Bottleneck(nn.Module):
    """Pre-activation residual block: 1x1 to half of the output channels, 3x3, and 1x1.

    Args:
        n_in: input channels.
        n_out: output channels. The shortcut is a 1x1 convolution if they differ from the input channels.
    """

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        half = n_out // 2
        self.body = nn.Sequential(
            nn.BatchNorm2d(n_in), nn.ReLU(), nn.Conv2d(n_in, half, 1),
            nn.BatchNorm2d(half), nn.ReLU(inplace=True), nn.Conv2d(half, half, 3, padding=1),
            nn.BatchNorm2d(half), nn.ReLU(inplace=True), nn.Conv2d(half, n_out, 1),
        )  # fmt: skip
        self.shortcut = nn.Identity() if n_in == n_out else nn.Conv2d(n_in, n_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, n_in, H, W) to (B, n_out, H, W)."""
        body: Tensor = self.body(x)
        return body + self.shortcut(x)


class Hourglass(nn.Module):
    """Blocks at falling and then at rising resolutions, with a block on the direct way at each resolution.

    Args:
        channels: number of channels.
        levels: how often the map is halved.
    """

    def __init__(self, channels: int, levels: int = _LEVELS) -> None:
        super().__init__()
        self.direct = Bottleneck(channels, channels)
        self.before = Bottleneck(channels, channels)
        self.inner = Hourglass(channels, levels - 1) if levels > 1 else Bottleneck(channels, channels)
        self.after = Bottleneck(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, channels, H, W) to the same shape."""
        low = self.after(self.inner(self.before(max_pool2d(x, 2))))
        direct: Tensor = self.direct(x)
        return direct + interpolate(low, scale_factor=2.0, mode="nearest")


class StackedHourglass(nn.Module):
    """Images to one score volume per stack. The channels of a stack's output are the depth planes of its volume.

    A stack gets the sum of the input of the stack before, its features and its volume, the last two through 1x1
    convolutions.

    Args:
        depths: number of planes of each stack's volume.
        channels: number of channels, 256 in the paper.
    """

    def __init__(self, depths: Sequence[int], channels: int = 256) -> None:
        super().__init__()
        quarter, half = channels // 4, channels // 2
        self.stem = nn.Sequential(
            nn.Conv2d(3, quarter, 7, stride=2, padding=3), nn.BatchNorm2d(quarter), nn.ReLU(inplace=True),
            Bottleneck(quarter, half), nn.MaxPool2d(2), Bottleneck(half, channels), Bottleneck(channels, channels),
        )  # fmt: skip
        self.hourglasses = nn.ModuleList(
            nn.Sequential(
                Hourglass(channels), Bottleneck(channels, channels),
                nn.Conv2d(channels, channels, 1), nn.BatchNorm2d(channels), nn.ReLU(inplace=True),
            )
            for _ in depths
        )  # fmt: skip
        self.scores = nn.ModuleList(nn.Conv2d(channels, depth, 1) for depth in depths)
        self.from_features = nn.ModuleList(nn.Conv2d(channels, channels, 1) for _ in depths[:-1])
        self.from_scores = nn.ModuleList(nn.Conv2d(depth, channels, 1) for depth in depths[:-1])

    def forward(self, images: Tensor) -> list[Tensor]:
        """Map images (B, 3, 4 R, 4 R) to volumes (B, depth, R, R), one per stack. R must be a multiple of 16."""
        x, volumes = self.stem(images), []
        for i, (hourglass, score) in enumerate(zip(self.hourglasses, self.scores, strict=True)):
            features = hourglass(x)
            volumes.append(score(features))
            if i < len(self.from_features):
                x = x + self.from_features[i](features) + self.from_scores[i](volumes[-1])
        return volumes
