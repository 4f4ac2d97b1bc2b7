"""Reading and writing images. Whatever a camera or a web page produces becomes (H, W, 3) uint8 RGB."""

from __future__ import annotations

import io
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError

from synergy.defaults import MAX_PIXELS
from synergy.errors import UserError, describe

IMAGE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jfif", ".png", ".bmp", ".gif", ".webp", ".avif", ".tif", ".tiff", ".ppm", ".pgm"}
)
# The longest side of a JPEG in pixels that Pillow can write.
MAX_JPEG_SIDE = 65_500
_ANIMATED = frozenset({"GIF", "WEBP", "PNG", "AVIF"})
# What makes an image upright, for each EXIF orientation but the upright one.
_TRANSPOSITIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# A strip of an image that is converted at once: 4 megapixels.
_STRIP_PIXELS = 2**22
# Pillow warns of large and of slightly damaged images. A filter for one call would not be safe with threads.
warnings.filterwarnings("ignore", module=r"PIL\.")
# Pillow's own limit belongs to the whole process: one thread at a time lifts it.
_PILLOW_LIMIT = threading.Lock()

ImageSource: TypeAlias = NDArray[np.uint8] | Image.Image | str | Path | bytes | bytearray | memoryview | IO[bytes]


def as_image(source: ImageSource, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """Convert anything that is an image to (H, W, 3) uint8 RGB.

    Args:
        source: an array (H, W, 3) uint8 RGB, which is returned as it is; a PIL image of any mode; the path of an image
            file; its content, as `bytes`, `bytearray` or `memoryview`; or a file that is open for reading bytes, such
            as `io.BytesIO`. PIL images and files are rotated upright by their EXIF orientation.
        max_pixels: files and PIL images with more pixels are refused. Arrays are taken as they are.

    Raises:
        UserError: the file cannot be read (see `read_image`), or a PIL image has too many pixels.
        ValueError: something else, or an array of another shape or type.

    Example:
        >>> as_image(Image.new("L", (30, 20))).shape
        (20, 30, 3)
    """
    if isinstance(source, (bytearray, memoryview)):
        source = bytes(source)
    if isinstance(source, (str, Path, bytes)):
        return read_image(source, max_pixels=max_pixels)
    if isinstance(source, Image.Image):
        if 0 in source.size:
            raise ValueError(f"an image has at least one pixel, got {source.width}x{source.height}")
        check_pixels(source.width, source.height, max_pixels, "image")
        return to_rgb(_upright(source))
    if hasattr(source, "read") and isinstance(content := source.read(), bytes):
        return read_image(content, max_pixels=max_pixels)
    return check_image(source)


def read_image(source: str | Path | bytes, name: str = "", max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """Read an image file, or its bytes, upright by its EXIF orientation.

    Grey, palette, CMYK and 16-bit images are converted; 16-bit values are divided by 257. Transparent pixels become
    white. Of an animation the first frame is read.

    Args:
        source: path or content of the file.
        name: what error messages call it; the path by default.
        max_pixels: images with more pixels are refused before they are decoded. A small file can state that it holds
            an image that exhausts the memory.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        UserError: missing, empty, truncated, not an image, or too many pixels.
    """
    label = str(name or (source if isinstance(source, (str, Path)) else "image"))
    try:
        with _open(source, max_pixels) as image:
            check_pixels(image.width, image.height, max_pixels, label)
            upright = _upright(image)
            if upright is not image:
                image.close()  # frees its pixels
            return to_rgb(upright)
    except UserError:
        raise
    except FileNotFoundError:
        raise UserError(f"{label}: no such file") from None
    except UnidentifiedImageError:
        raise UserError(f"{label}: not an image that can be read") from None
    except Image.DecompressionBombError:
        raise UserError(f"{label}: has more pixels than the limit max-pixels ({max_pixels})") from None
    # Damaged files make decoders raise almost anything: OSError, SyntaxError, struct.error, KeyError, MemoryError...
    except Exception as error:
        raise UserError(f"{label}: cannot be read as an image ({describe(error)})") from None


def check_pixels(width: int, height: int, max_pixels: int, label: str) -> None:
    """Refuse an image or a video frame that has too many pixels.

    Args:
        width: in pixels.
        height: in pixels.
        max_pixels: the largest product of both that is accepted.
        label: what the message calls the image.

    Raises:
        UserError: there are more pixels.
    """
    if width * height > max_pixels:
        raise UserError(f"{label}: {width} x {height} pixels are more than the limit max-pixels ({max_pixels})")


@contextmanager
def _open(source: str | Path | bytes, max_pixels: int) -> Iterator[Image.Image]:
    """Open an image file, or its bytes, without decoding it.

    Pillow refuses images of more than `2 * Image.MAX_IMAGE_PIXELS` pixels, which are 179 megapixels by default. Where
    `max_pixels` is larger, such an image is opened without that limit.
    """

    def open_image() -> Image.Image:
        return Image.open(io.BytesIO(source) if isinstance(source, bytes) else source)

    try:
        image = open_image()
    except Image.DecompressionBombError:
        before = Image.MAX_IMAGE_PIXELS
        if before is None or max_pixels <= 2 * before:
            raise
        with _PILLOW_LIMIT:
            before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
            try:
                image = open_image()
            finally:
                Image.MAX_IMAGE_PIXELS = before
    with image:
        yield image


def _upright(image: Image.Image) -> Image.Image:
    """Return an image upright by its EXIF orientation; the image itself if it is upright.

    `PIL.ImageOps.exif_transpose` also writes the EXIF data again, which fails where a value does not suit its tag.
    """
    transposition = _TRANSPOSITIONS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    return image if transposition is None else image.transpose(transposition)


def count_frames(source: Path | bytes) -> int:
    """Return the number of pictures of an animated GIF, WebP, PNG or AVIF; 1 for anything else that may be an image."""
    try:
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as image:
            return int(getattr(image, "n_frames", 1)) if image.format in _ANIMATED else 1
    # `read_image` says what is wrong with the file.
    except Exception:
        return 1


def to_rgb(image: Image.Image) -> NDArray[np.uint8]:
    """Convert a PIL image of any mode to (H, W, 3) uint8 RGB.

    Large images are converted in strips, because Pillow's conversions and numpy's each copy the whole image.
    """
    width, height = image.size
    is_wide = image.mode.startswith("I") or image.mode == "F"
    # "I" and "F" hold 16-bit files too; anything within eight bits is taken as it is.
    divisor = 257 if is_wide and _has_more_than_eight_bits(image) else 1
    rows = max(1, _STRIP_PIXELS // width)
    if rows >= height:
        return np.array(_strip_to_rgb(image, divisor))
    out = np.empty((height, width, 3), np.uint8)
    for top in range(0, height, rows):
        out[top : top + rows] = _strip_to_rgb(image.crop((0, top, width, min(top + rows, height))), divisor)
    return out


def _has_more_than_eight_bits(image: Image.Image) -> bool:
    values = np.asarray(image)
    return bool(((values > 255) & np.isfinite(values)).any())


def _strip_to_rgb(image: Image.Image, divisor: int) -> NDArray[np.uint8]:
    """Convert a part of an image; the values of the modes "I" and "F" are divided by `divisor`."""
    if image.mode.startswith("I") or image.mode == "F":
        values = np.nan_to_num(np.asarray(image, np.float64) / divisor)
        grey = np.clip(values, 0, 255).round().astype(np.uint8)
        return np.repeat(grey[..., None], 3, -1)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))


def check_image(image: object) -> NDArray[np.uint8]:
    """Return the image itself when it is (H, W, 3) uint8 with at least one pixel.

    Raises:
        ValueError: anything else.
    """
    if not isinstance(image, np.ndarray):
        kinds = "an array (H, W, 3) uint8 RGB, a PIL image, a path, bytes or an open file"
        raise ValueError(f"an image is {kinds}, got {type(image).__name__}")
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or 0 in image.shape:
        raise ValueError(f"an image is (H, W, 3) uint8 RGB, got {image.dtype} {image.shape}{_conversion(image)}")
    return image


def _conversion(image: NDArray[np.generic]) -> str:
    """Return how an array of another type or shape may become an image, for an error message; empty if unknown."""
    if image.dtype.kind == "f":
        return "; floats in 0..1 become an image by (255 * image).round().astype(np.uint8)"
    if image.dtype != np.uint8 or 0 in image.shape:
        return ""
    if image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 4):
        return "; PIL.Image.fromarray(image) is accepted"
    if image.ndim == 3 and image.shape[0] == 3:
        return "; use image.transpose(1, 2, 0)"
    return ""


def write_image(path: str | Path, image: NDArray[np.uint8]) -> None:
    """Write (H, W, 3) uint8 RGB in the format of the path's suffix."""
    Image.fromarray(image).save(path, quality=92)
