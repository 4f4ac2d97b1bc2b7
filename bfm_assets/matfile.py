"""MATLAB `.mat` files by variable, bounded before they are read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bfm_assets.errors import ModelFileError, check_bytes, reading

_HDF5 = b"MATLAB 7.3"
_BYTES_PER_VALUE = 8


def variables(path: str | Path) -> tuple[str, ...]:
    """Names of the variables in a `.mat` file."""
    return tuple(_sizes(path))


def read_mat(path: str | Path, required: tuple[str, ...], optional: tuple[str, ...] = ()) -> dict[str, Any]:
    """The `required` variables and those `optional` ones that are there; nothing else is loaded."""
    from scipy.io import loadmat

    sizes = _sizes(path)
    if missing := [name for name in required if name not in sizes]:
        raise ModelFileError(f"{path}: it lacks the variable{'s' * (len(missing) > 1)} {', '.join(missing)}")
    wanted = [name for name in (*required, *optional) if name in sizes]
    with reading(path, ".mat file"):
        check_bytes(_BYTES_PER_VALUE * sum(sizes[name] for name in wanted), "the unpacked file")
        found = loadmat(path, variable_names=wanted)
        return {name: found[name] for name in wanted}


def _sizes(path: str | Path) -> dict[str, int]:
    """How many values each variable says it has."""
    from math import prod

    from scipy.io import whosmat

    with reading(path, ".mat file"):
        with Path(path).open("rb") as file:
            if file.read(len(_HDF5)) == _HDF5:
                raise ModelFileError("a MATLAB 7.3 file, save it again with -v7")
        return {name: prod(shape) for name, shape, _kind in whosmat(path)}
