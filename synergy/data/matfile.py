"""MATLAB `.mat` files by variable, with one clear line for everything that can be wrong with them."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
from numpy.typing import NDArray
from scipy.io import loadmat
from scipy.io.matlab import MatReadError

from synergy.data.reader import SampleError

# What scipy raises for files cut short or of another kind.
_DAMAGE = (
    *(MatReadError, ValueError, TypeError, KeyError, IndexError),
    *(OSError, EOFError, MemoryError, zlib.error, struct.error),
)


def read_mat(
    content: bytes, name: str, required: tuple[str, ...], optional: tuple[str, ...] = ()
) -> dict[str, NDArray[np.float64]]:
    """The `required` variables, and the `optional` ones that are there, as float64 arrays of their MATLAB shape."""
    if content[:8] == b"\x89HDF\r\n\x1a\n" or b"MATLAB 7.3" in content[:32]:
        raise SampleError(f"{name} is a MATLAB 7.3 file; save it again with -v7")
    try:
        found = loadmat(io.BytesIO(content), variable_names=[*required, *optional])
    except _DAMAGE as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise SampleError(f"{name} is not a complete .mat file ({reason})") from None
    if missing := [key for key in required if key not in found]:
        raise SampleError(f"{name} lacks {', '.join(missing)}")
    arrays = {}
    for key in (*required, *optional):
        if key not in found:
            continue
        if not isinstance(found[key], np.ndarray) or found[key].dtype.kind not in "iufb":
            raise SampleError(f"{name}: {key} is not numeric")
        arrays[key] = found[key].astype(np.float64)
    return arrays
