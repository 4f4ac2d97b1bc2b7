"""Reading pickles of numbers without running them.

The field ships arrays as pickles, and a pickle is a program. The unpickler here knows numpy arrays of plain numbers,
dict, list, tuple, str, bytes and numbers; every other name in the file is refused before anything is called. Even the
admitted names are stand-ins: numpy's own reconstruction trusts the shapes and types that a file states, this does not.
"""

from __future__ import annotations

import pickle
from io import BytesIO
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from bfm_assets.errors import check_bytes, reading

_NUMBERS = "biuf"
_MODULES = ("numpy.core.multiarray", "numpy._core.multiarray", "numpy.core.numeric", "numpy._core.numeric", "numpy")


class _Dtype:
    """Stand-in for `numpy.dtype`: a number type and its byte order."""

    def __init__(self, code: str, *_flags: object) -> None:
        self.value = np.dtype(str(code))
        if self.value.kind not in _NUMBERS or self.value.names or self.value.shape:
            raise pickle.UnpicklingError(f"array of type {code!r}")

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        if any(part is not None for part in state[2:5]):
            raise pickle.UnpicklingError("array of a structured type")
        self.value = self.value.newbyteorder(state[1]) if state[1] in ("<", ">") else self.value


class _Array:
    """Stand-in for `numpy.ndarray`, filled from its pickled state."""

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
        raise pickle.UnpicklingError(f"text encoded as {encoding!r}")
    return text.encode("latin1")


_ADMITTED = {(module, "_reconstruct"): _Array for module in _MODULES} | {
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Dtype,
    ("_codecs", "encode"): _encode,
}
_ADMITTED |= {(module, "_frombuffer"): _from_buffer for module in _MODULES}


# The unpickler written in Python: the C one lets a file of ten bytes allocate gigabytes for its memo.
_PythonUnpickler: Any = pickle._Unpickler


class _NumbersUnpickler(_PythonUnpickler):  # type: ignore[misc]
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ADMITTED:
            raise pickle.UnpicklingError(f"it asks for '{module}.{name}', no array of numbers: nothing was run")
        return _ADMITTED[module, name]

    def load_build(self) -> None:
        state = self.stack.pop()
        target = self.stack[-1]
        if not isinstance(target, _Array | _Dtype):
            raise pickle.UnpicklingError("it sets the state of something that is no array")
        target.__setstate__(state)

    dispatch: ClassVar[dict[int, Any]] = {**_PythonUnpickler.dispatch, pickle.BUILD[0]: load_build}


def read_pickle(path: str | Path) -> Any:
    """The plain containers and arrays in a pickle file; `ModelFileError` names a global that is neither."""
    with reading(path, "pickle of arrays"):
        check_bytes(Path(path).stat().st_size, "the file")
        return _resolve(_NumbersUnpickler(BytesIO(Path(path).read_bytes()), encoding="latin1").load())


def _resolve(value: Any, depth: int = 0) -> Any:
    """Arrays in place of their stand-ins, through containers nested at most eight deep."""
    if depth > 8:
        raise pickle.UnpicklingError("containers nested too deep")
    if isinstance(value, _Array):
        return value.value
    if isinstance(value, dict):
        return {key: _resolve(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_resolve(item, depth + 1) for item in value)
    if value is None or isinstance(value, str | bytes | bytearray | int | float):
        return value
    raise pickle.UnpicklingError(f"it holds {type(value).__name__}")
