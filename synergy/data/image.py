"""Decode images of data sets."""

from __future__ import annotations

import io
import warnings

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from synergy.defaults import MAX_PIXELS
from synergy.errors import UserError
from synergy.images import check_pixels, to_rgb


def decode_image(content: bytes, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """Decode an image. An EXIF orientation is ignored, because labels refer to the stored pixels, and so is alpha.

    OpenCV decodes JPEG, and Pillow all other formats: for a damaged PNG, OpenCV allocates the length that a chunk
    states, up to 4 GB.

    Args:
        content: the bytes of the image file.
        max_pixels: images with more pixels are refused before they are decoded.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        ValueError: not a readable image, or too many pixels.
    """
    if not content:
        raise ValueError("the image file is empty")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(content)) as image:
                check_pixels(image.width, image.height, max_pixels, "the image")
                if image.format != "JPEG":
                    return to_rgb(_without_alpha(image))
        decoded = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    except UserError as error:
        raise ValueError(str(error)) from None
    # Damaged files make decoders raise almost anything.
    except Exception:
        raise ValueError("not a readable image") from None
    if decoded is None:
        raise ValueError("not a readable image")
    return np.ascontiguousarray(decoded[..., ::-1], np.uint8)


def _without_alpha(image: Image.Image) -> Image.Image:
    """Return an image without its transparency."""
    if not image.has_transparency_data:
        return image
    opaque = image.convert("RGB")
    opaque.info.pop("transparency", None)
    return opaque
