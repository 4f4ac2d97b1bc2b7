"""Decode images of data sets."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray


def decode_image(content: bytes) -> NDArray[np.uint8]:
    """Decode an image. An EXIF orientation is ignored, because labels refer to the stored pixels.

    Args:
        content: the bytes of the image file.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        ValueError: not a readable image.
    """
    if not content:
        raise ValueError("the image file is empty")
    data = np.frombuffer(content, np.uint8)
    image = cv2.imdecode(data, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    if image is None:
        raise ValueError("not a readable image")
    return np.ascontiguousarray(image[..., ::-1], np.uint8)
