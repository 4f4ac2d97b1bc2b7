"""Reading and writing images. Whatever a camera or a web page produces becomes (H, W, 3) uint8 RGB."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from synergy.errors import UserError, describe

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"})
_ANIMATED = frozenset({"GIF", "WEBP", "PNG", "AVIF"})

ImageSource: TypeAlias = NDArray[np.uint8] | Image.Image | str | Path | bytes


def as_image(source: ImageSource) -> NDArray[np.uint8]:
    """Convert anything that is an image to (H, W, 3) uint8 RGB.

    Args:
        source: an array (H, W, 3) uint8 RGB, which is returned as it is; a PIL image of any mode; the path of an image
            file; or the bytes of one. PIL images and files are turned upright by their EXIF orientation.

    Raises:
        UserError: the file cannot be read (see `read_image`).
        ValueError: something else, or an array of another shape or type.

    Example:
        >>> as_image(Image.new("L", (30, 20))).shape
        (20, 30, 3)
    """
    if isinstance(source, (str, Path, bytes)):
        return read_image(source)
    if isinstance(source, Image.Image):
        if 0 in source.size:
            raise ValueError(f"an image has at least one pixel, got {source.width}x{source.height}")
        return _to_rgb(ImageOps.exif_transpose(source))
    return check_image(source)


def read_image(source: str | Path | bytes, name: str = "") -> NDArray[np.uint8]:
    """Read an image file, or its bytes, upright by its EXIF orientation.

    Grey, palette, CMYK and 16-bit images are converted, 16-bit ones by their top eight bits. Transparent pixels become
    white. Of an animation the first frame is read.

    Args:
        source: path or content of the file.
        name: what error messages call it; the path by default.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        UserError: missing, empty, truncated, not an image, or larger than 179 megapixels, which is Pillow's limit
            against images that exhaust the memory.
    """
    label = name or (source if isinstance(source, (str, Path)) else "image")
    file = io.BytesIO(source) if isinstance(source, bytes) else source
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(file) as image:
                return _to_rgb(ImageOps.exif_transpose(image))
    except FileNotFoundError:
        raise UserError(f"{label}: no such file") from None
    except UnidentifiedImageError:
        raise UserError(f"{label}: not an image that can be read") from None
    except Image.DecompressionBombError:
        limit = 2 * (Image.MAX_IMAGE_PIXELS or 0) / 1e6
        raise UserError(f"{label}: larger than the {limit:.0f} megapixels that are read") from None
    # Damaged files make decoders raise almost anything: OSError, SyntaxError, struct.error, KeyError, MemoryError...
    except Exception as error:
        raise UserError(f"{label}: cannot be read as an image ({describe(error)})") from None


def count_frames(source: Path | bytes) -> int:
    """Return the number of pictures of an animated GIF, WebP, PNG or AVIF; 1 for anything else that may be an image."""
    try:
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as image:
            return int(getattr(image, "n_frames", 1)) if image.format in _ANIMATED else 1
    # `read_image` says what is wrong with the file.
    except Exception:
        return 1


def _to_rgb(image: Image.Image) -> NDArray[np.uint8]:
    """Convert a PIL image of any mode to (H, W, 3) uint8 RGB."""
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
    """Return the image itself when it is (H, W, 3) uint8 with at least one pixel.

    Raises:
        ValueError: anything else.
    """
    if not isinstance(image, np.ndarray):
        raise ValueError(f"an image is a numpy array (H, W, 3) uint8 RGB, got {type(image).__name__}")
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or 0 in image.shape:
        raise ValueError(f"an image is (H, W, 3) uint8 RGB, got {image.dtype} {image.shape}")
    return image


def write_image(path: str | Path, image: NDArray[np.uint8]) -> None:
    """Write (H, W, 3) uint8 RGB in the format of the path's suffix."""
    Image.fromarray(image).save(path, quality=92)
