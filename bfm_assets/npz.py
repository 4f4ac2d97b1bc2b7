"""Reading `.npz` files without pickle, with one clear line for everything that can be wrong with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from zipfile import BadZipFile
from zlib import error as ZlibError

import numpy as np
from numpy.typing import NDArray


class ModelFileError(ValueError):
    """A morphable model file that cannot be used, with the one line that says why."""


def read_arrays(path: str | Path, required: tuple[str, ...], kind: str) -> dict[str, NDArray[Any]]:
    """All arrays of an `.npz` file that has at least the `required` ones; `kind` names the format in errors."""
    try:
        with np.load(path, allow_pickle=False) as file:
            if not hasattr(file, "files"):
                raise ValueError("a single array")
            arrays = {key: file[key] for key in file.files}
    except FileNotFoundError:
        raise ModelFileError(f"{path}: no such file") from None
    except (OSError, ValueError, BadZipFile, EOFError, ZlibError) as error:
        raise ModelFileError(f"{path}: not a readable .npz file ({error})") from None
    if missing := [key for key in required if key not in arrays]:
        raise ModelFileError(f"{path}: not a {kind}, it lacks {', '.join(missing)}")
    return arrays
