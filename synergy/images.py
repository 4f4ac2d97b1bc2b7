"""Reading and writing images: whatever a camera or a web page produces becomes HxWx3 uint8 RGB, or one clear line."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from synergy.errors import UserError

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm"})
MAX_PIXELS = 200_000_000


def read_image(source: str | Path | bytes, name: str = "") -> NDArray[np.uint8]:
    """An image file, or its bytes, as (H, W, 3) uint8 RGB, upright by its EXIF orientation.

    Grey, palette, CMYK and 16-bit images are converted, 16-bit ones by their top eight bits; transparency shows white.

    Raises:
        UserError: missing, empty, truncated, not an image, or larger than 200 megapixels.
    """
    label = name or (source if isinstance(source, (str, Path)) else "image")
    file = io.BytesIO(source) if isinstance(source, bytes) else source
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(file) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise UserError(
                        f"{label}: {image.width}x{image.height} pixels, more than {MAX_PIXELS // 10**6} megapixels"
                    )
                return _to_rgb(ImageOps.exif_transpose(image))
    except FileNotFoundError:
        raise UserError(f"{label}: no such file") from None
    except UnidentifiedImageError:
        raise UserError(f"{label}: not an image that can be read") from None
    except Image.DecompressionBombError as error:
        raise UserError(f"{label}: {error}") from None
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise UserError(f"{label}: cannot be read as an image ({error})") from None


def _to_rgb(image: Image.Image) -> NDArray[np.uint8]:
    if image.mode.startswith("I") or image.mode == "F":
        values = np.asarray(image, np.float64)
        # "I" and "F" hold 16-bit files too; anything within eight bits is taken as it is.
        grey = np.clip(values / (257 if values.max(initial=0) > 255 else 1), 0, 255).round().astype(np.uint8)
        return np.repeat(grey[..., None], 3, -1)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.array(image.convert("RGB"))


def check_image(image: object) -> NDArray[np.uint8]:
    """The image itself when it is (H, W, 3) uint8 with at least one pixel; `ValueError` in one line otherwise."""
    if not isinstance(image, np.ndarray):
        raise ValueError(f"an image is a numpy array (H, W, 3) uint8 RGB, got {type(image).__name__}")
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or 0 in image.shape:
        raise ValueError(f"an image is (H, W, 3) uint8 RGB, got {image.dtype} {image.shape}")
    return image


def write_image(path: str | Path, image: NDArray[np.uint8]) -> None:
    """Write (H, W, 3) uint8 RGB in the format of the path's suffix."""
    Image.fromarray(image).save(path, quality=92)
