"""What a detector is: an image in, boxes with scores out, and how its boxes relate to landmark boxes."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray


class Detection(NamedTuple):
    """K faces of one image, best first.

    Attributes:
        boxes: (K, 4) float32 x0, y0, x1, y1 in image pixels.
        scores: (K,) float32 confidence in 0..1.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]


class Detector(Protocol):
    """Anything that finds faces."""

    def __call__(self, image: NDArray[np.uint8]) -> Detection:
        """Faces of an (H, W, 3) uint8 RGB image."""
        ...

    def crop_box(self, boxes: NDArray[np.float32]) -> NDArray[np.float32]:
        """Boxes (K, 4) of this detector as the boxes of the 68 landmarks they stand for."""
        ...
