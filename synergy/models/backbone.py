"""The backbones by name."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from synergy.models.mobilenet import SMALL_CHANNELS, SMALL_STEM, MobileNetV1, MobileNetV2
from synergy.models.mobilenet_v3 import MobileNetV3Small
from synergy.models.xception import Xception

Backbone = MobileNetV1 | MobileNetV2 | MobileNetV3Small | Xception
_BACKBONES: dict[str, Callable[[float], Backbone]] = {
    "mobilenet_v1": MobileNetV1,
    "mobilenet_v1_small": partial(MobileNetV1, channels=SMALL_CHANNELS, stem=SMALL_STEM),
    "mobilenet_v2": MobileNetV2,
    "mobilenet_v3_small": MobileNetV3Small,
    "xception": Xception,
}
# A damaged description of weights can state a network that exhausts the memory.
_MAX_WIDTH = 8


def build_backbone(name: str, width: float) -> Backbone:
    """Build a backbone.

    Args:
        name: a key of `_BACKBONES`.
        width: width multiplier.

    Raises:
        ValueError: unknown name, or a width that is not in 0..8.
    """
    if name not in _BACKBONES:
        raise ValueError(f"unknown backbone '{name}', choose from {', '.join(_BACKBONES)}")
    if not 0 < width <= _MAX_WIDTH:
        raise ValueError(f"the width multiplier of a backbone is larger than 0 and at most {_MAX_WIDTH}, got {width}")
    return _BACKBONES[name](width)
