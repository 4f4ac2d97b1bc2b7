"""MATLAB `.mat` files from memory, by variable, with one clear line for everything that can be wrong with them."""

from __future__ import annotations

import io
import zlib

import numpy as np
from numpy.typing import NDArray

from bfm_assets.matfile import read_variables
from synergy.data.reader import SampleError

# What the reader raises for files cut short or of another kind.
_DAMAGE = (ValueError, IndexError, OverflowError, MemoryError, zlib.error)


def read_mat(
    content: bytes, name: str, required: tuple[str, ...], optional: tuple[str, ...] = ()
) -> dict[str, NDArray[np.float64]]:
    """The `required` variables, and the `optional` ones that are there, as float64 arrays of their MATLAB shape."""
    try:
        found = read_variables(io.BytesIO(content), (*required, *optional))
    except _DAMAGE as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise SampleError(f"{name} is not a complete .mat file ({reason})") from None
    if missing := [key for key in required if key not in found]:
        raise SampleError(f"{name} lacks {', '.join(missing)}")
    arrays = {}
    for key, value in found.items():
        if not isinstance(value, np.ndarray) or value.dtype.kind not in "iufb":
            raise SampleError(f"{name}: {key} is not numeric")
        arrays[key] = value.astype(np.float64)
    return arrays
