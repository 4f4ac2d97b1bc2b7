"""Read pickles that hold arrays of numbers, without executing them.

Some public models are pickles, and a pickle is a program that can run any function. This unpickler knows numpy arrays
of plain numbers, dict, list, tuple, str, bytes and numbers. It refuses every other name before anything is called. The
allowed names are replaced by classes of this file, because numpy's own functions trust the shapes and types in a file.
"""

from __future__ import annotations

import pickle
import struct
import sys
from io import BytesIO
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from bfm_assets.safe_files import check_bytes, reading

_NUMBERS = "biuf"
_MODULES = ("numpy.core.multiarray", "numpy._core.multiarray", "numpy.core.numeric", "numpy._core.numeric", "numpy")


class _Dtype:
    """Replacement of `numpy.dtype`: a type of numbers and its byte order."""

    def __init__(self, code: str, *_flags: object) -> None:
        self.value = np.dtype(str(code))
        if self.value.kind not in _NUMBERS or self.value.names or self.value.shape:
            raise pickle.UnpicklingError(f"arrays of type {code!r} are not allowed")

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        if any(part is not None for part in state[2:5]):
            raise pickle.UnpicklingError("arrays of structured types are not allowed")
        self.value = self.value.newbyteorder(state[1]) if state[1] in ("<", ">") else self.value


class _Array:
    """Replacement of `numpy.ndarray`, filled from its pickled state."""

    value: NDArray[Any]

    def __init__(self, *_args: object) -> None:
        self.value = np.empty(0)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _version, shape, dtype, is_fortran, data = state
        self._fill(data, dtype, shape, "F" if is_fortran else "C")

    def _fill(self, data: bytes | bytearray | str, dtype: _Dtype, shape: tuple[int, ...], order: Any) -> None:
        raw = data.encode("latin1") if isinstance(data, str) else data
        self.value = np.frombuffer(raw, dtype.value).reshape(shape, order=order)


def _from_buffer(data: bytes, dtype: _Dtype, shape: tuple[int, ...], order: str) -> _Array:
    array = _Array()
    array._fill(data, dtype, shape, order)
    return array


def _encode(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"text in encoding {encoding!r} is not allowed")
    return text.encode("latin1")


_ALLOWED = {(module, "_reconstruct"): _Array for module in _MODULES} | {
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Dtype,
    ("_codecs", "encode"): _encode,
}
_ALLOWED |= {(module, "_frombuffer"): _from_buffer for module in _MODULES}


# The unpickler that is written in Python: in the one written in C, a file of ten bytes can allocate gigabytes.
_PythonUnpickler: Any = pickle._Unpickler


class _NumbersUnpickler(_PythonUnpickler):  # type: ignore[misc]
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it refers to '{module}.{name}', which is not allowed; nothing was executed")
        return _ALLOWED[module, name]

    def load_build(self) -> None:
        state = self.stack.pop()
        target = self.stack[-1]
        if not isinstance(target, _Array | _Dtype):
            raise pickle.UnpicklingError("it sets the state of an object that is not an array")
        target.__setstate__(state)

    def load_bytearray8(self) -> None:
        # Python's version allocates the stated length, up to exabytes, before it reads.
        (length,) = struct.unpack("<Q", self.read(8))
        content = self.read(min(length, sys.maxsize))
        if len(content) != length:
            raise pickle.UnpicklingError("a bytearray is incomplete")
        self.append(bytearray(content))

    dispatch: ClassVar[dict[int, Any]] = {
        **_PythonUnpickler.dispatch,
        pickle.BUILD[0]: load_build,
        pickle.BYTEARRAY8[0]: load_bytearray8,
    }


def read_pickle(path: str | Path) -> Any:
    """Read the arrays, numbers and plain containers in a pickle file.

    Args:
        path: the file, at most 2 GB.

    Raises:
        ModelFileError: the file is missing, damaged or too large, or refers to anything else.
    """
    with reading(path, "pickle of arrays"):
        check_bytes(Path(path).stat().st_size, "the file")
        return _resolve(_NumbersUnpickler(BytesIO(Path(path).read_bytes()), encoding="latin1").load(), {})


def _resolve(value: Any, resolved: dict[int, Any], depth: int = 0) -> Any:
    """Replace the objects of this file by their arrays, in containers that are nested at most eight levels deep.

    Args:
        value: any object of the pickle.
        resolved: results by the identity of their containers. A file of a few bytes can refer to a container billions
            of times.
        depth: number of containers around the value.
    """
    if depth > 8:
        raise pickle.UnpicklingError("containers are nested too deeply")
    if isinstance(value, _Array):
        return value.value
    if isinstance(value, dict | list | tuple):
        if id(value) not in resolved:
            items = value.items() if isinstance(value, dict) else enumerate(value)
            replaced = {key: _resolve(item, resolved, depth + 1) for key, item in items}
            resolved[id(value)] = replaced if isinstance(value, dict) else type(value)(replaced.values())
        return resolved[id(value)]
    if value is None or isinstance(value, str | bytes | bytearray | int | float):
        return value
    raise pickle.UnpicklingError(f"it holds an object of type {type(value).__name__}")
