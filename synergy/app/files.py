"""Results as the bytes of files. Writers that need a folder get one that is removed at once."""

from __future__ import annotations

import io
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

JPEG_QUALITY = 90
MEDIA_TYPES = {
    ".csv": "text/csv; charset=utf-8",
    ".glb": "model/gltf-binary",
    ".jpg": "image/jpeg",
    ".json": "application/json",
    ".jsonl": "application/x-ndjson",
    ".mp4": "video/mp4",
    ".png": "image/png",
    ".pts": "text/plain; charset=utf-8",
    ".zip": "application/zip",
}


def media_type(name: str) -> str:
    """Return the media type of a file by its suffix."""
    return MEDIA_TYPES.get(Path(name).suffix, "application/octet-stream")


def encode_image(image: NDArray[np.uint8], kind: str = "jpeg") -> bytes:
    """Return the file of a picture.

    Args:
        image: (H, W, 3) uint8 RGB or (H, W, 4) uint8 RGBA.
        kind: "jpeg" or "png".
    """
    buffer = io.BytesIO()
    # Level 1 of PNG's compression is several times faster, and a little larger.
    Image.fromarray(image).save(buffer, kind, quality=JPEG_QUALITY, compress_level=1)
    return buffer.getvalue()


def written(name: str, write: Callable[[Path], object]) -> bytes:
    """Return what a function writes.

    Args:
        name: name of the file that the function is given.
        write: writes the file, and possibly others into the same folder.

    Returns:
        The file's content; a zip archive if there are several files.
    """
    with tempfile.TemporaryDirectory(prefix="synergy-app-") as folder:
        write(Path(folder) / name)
        files = sorted(Path(folder).iterdir())
        if len(files) == 1:
            return files[0].read_bytes()
        return zip_files({file.name: file.read_bytes for file in files})


def zip_files(files: Mapping[str, Callable[[], bytes]]) -> bytes:
    """Return a zip archive.

    Args:
        files: name to a function that returns the content.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, content in files.items():
            archive.writestr(name, content())
    return buffer.getvalue()
