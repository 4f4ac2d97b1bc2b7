"""Read files of unknown origin: one error class, one guard for parsers, size limits, and numpy files without pickle."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
from numpy.typing import NDArray

# No public model has an array of half this size. A larger one belongs to a damaged or malicious file.
MAX_BYTES = 2**31


class ModelFileError(ValueError):
    """A morphable model file cannot be used. The message is one line that names the file and the reason.

    Example:
        >>> from bfm_assets import read_model
        >>> try:
        ...     read_model("missing.npz")
        ... except ModelFileError as error:
        ...     print(error)
        missing.npz: no such file
    """


@contextmanager
def reading(path: str | Path, kind: str) -> Iterator[None]:
    """Turn every exception of the block into a `ModelFileError` that starts with the path.

    Parsers of damaged bytes can raise any exception, for example `MemoryError`.

    Args:
        path: file or folder that the block reads.
        kind: what the file should be, for the message.

    Raises:
        ModelFileError: the block raised an exception.
    """
    try:
        yield
    except FileNotFoundError as error:
        raise ModelFileError(f"{error.filename or path}: no such file") from None
    except ModelFileError as error:
        raise ModelFileError(str(error) if str(path) in str(error) else f"{path}: {error}") from None
    except Exception as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ModelFileError(f"{path}: not a readable {kind} ({reason})") from None


def check_bytes(count: int, what: str) -> None:
    """Refuse a size that no morphable model has.

    Args:
        count: size in bytes.
        what: name of the data, for the message.

    Raises:
        ModelFileError: `count` is larger than `MAX_BYTES`.
    """
    if count > MAX_BYTES:
        raise ModelFileError(f"{what} takes {count / 1e9:.1f} GB, more than any morphable model")


def read_arrays(path: str | Path, required: tuple[str, ...], kind: str) -> dict[str, NDArray[Any]]:
    """Read all arrays of an `.npz` file, without pickle.

    Args:
        path: the file.
        required: names of the arrays that must be present.
        kind: what the file should be, for the message.

    Raises:
        ModelFileError: the file is missing, damaged or too large, holds Python objects, or lacks a required array.
    """
    with reading(path, ".npz file"):
        with ZipFile(path) as archive:
            check_bytes(sum(entry.file_size for entry in archive.infolist()), "the unpacked file")
        with np.load(path, allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files}
    if missing := [key for key in required if key not in arrays]:
        raise ModelFileError(f"{path}: not a {kind}, it lacks {', '.join(missing)}")
    return arrays


def read_array(path: str | Path) -> NDArray[Any]:
    """Read the numeric array of an `.npy` file, without pickle.

    Raises:
        ModelFileError: the file is missing, damaged or too large, or does not hold an array of numbers.
    """
    with reading(path, ".npy file"):
        check_bytes(Path(path).stat().st_size, "the file")
        array = np.load(path, allow_pickle=False)
        if not isinstance(array, np.ndarray) or array.dtype.kind not in "iuf":
            raise ModelFileError("it does not hold an array of numbers")
        return array
