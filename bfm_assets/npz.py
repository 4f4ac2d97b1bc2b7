"""Reading `.npz` and `.npy` files without pickle, with one clear line for everything that can be wrong with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
from numpy.typing import NDArray

from bfm_assets.errors import ModelFileError, check_bytes, reading

__all__ = ["ModelFileError", "read_array", "read_arrays"]


def read_arrays(path: str | Path, required: tuple[str, ...], kind: str) -> dict[str, NDArray[Any]]:
    """All arrays of an `.npz` file that has at least the `required` ones; `kind` names the format in errors."""
    with reading(path, ".npz file"):
        with ZipFile(path) as archive:
            check_bytes(sum(entry.file_size for entry in archive.infolist()), "the unpacked file")
        with np.load(path, allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files}
    if missing := [key for key in required if key not in arrays]:
        raise ModelFileError(f"{path}: not a {kind}, it lacks {', '.join(missing)}")
    return arrays


def read_array(path: str | Path) -> NDArray[Any]:
    """The numeric array of an `.npy` file."""
    with reading(path, ".npy file"):
        check_bytes(Path(path).stat().st_size, "the file")
        array = np.load(path, allow_pickle=False)
        if not isinstance(array, np.ndarray) or array.dtype.kind not in "iuf":
            raise ModelFileError("it holds no array of numbers")
        return array
