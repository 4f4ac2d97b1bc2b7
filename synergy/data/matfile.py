"""Read variables of MATLAB `.mat` files that are held in memory."""

from __future__ import annotations

import io
import zlib

import numpy as np
from numpy.typing import NDArray

from bfm_assets.matfile import read_variables
from synergy.data.reader import SampleError

# What the MATLAB reader raises for incomplete files and for other kinds of files.
_DAMAGE = (ValueError, IndexError, OverflowError, MemoryError, zlib.error)


def read_mat(
    content: bytes, name: str, required: tuple[str, ...], optional: tuple[str, ...] = ()
) -> dict[str, NDArray[np.float64]]:
    """Read numeric variables of a `.mat` file.

    Args:
        content: the bytes of the file.
        name: its name, for error messages.
        required: names of variables that the file must have.
        optional: names of variables that are read if the file has them.

    Returns:
        float64 arrays by variable, with their MATLAB shapes.

    Raises:
        SampleError: not a complete `.mat` file, or a required variable is missing or not numeric.
    """
    try:
        variables = read_variables(io.BytesIO(content), (*required, *optional))
    except _DAMAGE as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise SampleError(f"{name} is not a complete .mat file ({reason})") from None
    if missing := [key for key in required if key not in variables]:
        raise SampleError(f"{name} lacks {', '.join(missing)}")
    arrays = {}
    for key, value in variables.items():
        if not isinstance(value, np.ndarray) or value.dtype.kind not in "iufb":
            raise SampleError(f"{name}: {key} is not numeric")
        arrays[key] = value.astype(np.float64)
    return arrays
