"""The interface of face detectors: boxes with scores, and how these boxes relate to boxes of landmarks."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray


class Detection(NamedTuple):
    """K faces of one image, best first.

    Attributes:
        boxes: (K, 4) float32 x0, y0, x1, y1 in image pixels.
        scores: (K,) float32 detection scores in 0..1.
        points5: (K, 5, 2) float32 rough x and y of the eye on the image's left, the other eye, the tip of the nose and
            the corners of the mouth, of an upright face, in image pixels. None if the detector does not find them.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    points5: NDArray[np.float32] | None = None


class Detector(Protocol):
    """The interface of a face detector."""

    def __call__(self, image: NDArray[np.uint8]) -> Detection:
        """Find the faces of an image (H, W, 3) uint8 RGB."""
        ...

    def crop_box(self, boxes: NDArray[np.float32]) -> NDArray[np.float32]:
        """Convert boxes (K, 4) of this detector to boxes (K, 4) of the 68 landmarks of the same faces."""
        ...
