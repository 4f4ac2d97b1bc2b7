"""Read variables of MATLAB `.mat` files, versions 5 to 7: numeric arrays, text and structs.

The files have unknown origins. scipy's reader, which is written in C, crashed on damaged bytes in our fuzz tests (a
segmentation fault in scipy 1.17). This reader checks every length before it reads, and reads only the variables that
are asked for. The format is described in MathWorks' "MAT-File Format", chapter 1.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from bfm_assets.safe_files import MAX_BYTES, ModelFileError, check_bytes, reading

Value = NDArray[Any] | str | dict[str, Any] | None

_TYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_TEXT = {1: "latin-1", 2: "latin-1", 4: "utf-16", 16: "utf-8", 17: "utf-16", 18: "utf-32"}
_MATRIX, _COMPRESSED = 14, 15
_STRUCT, _CHAR, _NUMERIC = 2, 4, range(6, 16)
_COMPLEX = 0x800
_HEADER = 128
# This many bytes of a compressed variable contain its name.
_HEAD = 1024
_MAX_DEPTH = 4


def variables(path: str | Path) -> tuple[str, ...]:
    """Return the names of the variables in a `.mat` file.

    Raises:
        ModelFileError: the file is missing or damaged, or has another version.
    """
    with reading(path, ".mat file"), Path(path).open("rb") as file:
        return tuple(name for name, _content, _is_compressed in _entries(file, _byte_order(file.read(_HEADER))))


def read_mat(path: str | Path, required: tuple[str, ...], optional: tuple[str, ...] = ()) -> dict[str, Value]:
    """Read variables of a `.mat` file. Other variables are not loaded.

    Args:
        path: the file.
        required: names of variables that must be present.
        optional: names of variables that may be missing.

    Returns:
        Values by name. An array has its MATLAB shape and the type in which it is stored: MATLAB stores whole numbers in
        the smallest type that holds them. Text is str, a struct is a dict of its fields, anything else is None.

    Raises:
        ModelFileError: the file is missing or damaged, has another version, or lacks a required variable.
    """
    with reading(path, ".mat file"), Path(path).open("rb") as file:
        return _read_variables(file, required, optional)


def read_mat_numbers(
    content: bytes, name: str, required: tuple[str, ...], optional: tuple[str, ...] = ()
) -> dict[str, NDArray[np.float64]]:
    """Read numeric variables from the bytes of a `.mat` file.

    Args:
        content: the bytes.
        name: name of the file, for the message.
        required: names of variables that must be present.
        optional: names of variables that may be missing.

    Returns:
        float64 arrays in their MATLAB shape, by name.

    Raises:
        ModelFileError: as `read_mat`, or a variable is not an array of numbers.
    """
    with reading(name, ".mat file"):
        numbers = {}
        for key, value in _read_variables(io.BytesIO(content), required, optional).items():
            if not isinstance(value, np.ndarray):
                raise ModelFileError(f"{key} is not an array of numbers")
            numbers[key] = value.astype(np.float64)
        return numbers


def _read_variables(file: BinaryIO, required: tuple[str, ...], optional: tuple[str, ...]) -> dict[str, Value]:
    order = _byte_order(file.read(_HEADER))
    values = {
        name: _Elements(_unpack(content, order) if is_compressed else content, order).matrix()
        for name, content, is_compressed in _entries(file, order)
        if name in required or name in optional
    }
    if missing := [name for name in required if name not in values]:
        raise ModelFileError(f"it lacks the variable{'s' * (len(missing) > 1)} {', '.join(missing)}")
    return values


def _entries(file: BinaryIO, order: str) -> Iterator[tuple[str, bytes, bool]]:
    """Yield the name of each variable, its content, and whether the content is compressed."""
    size = file.seek(0, 2)
    position = _HEADER
    while position + 8 <= size:
        file.seek(position)
        kind, length = np.frombuffer(file.read(8), f"{order}u4").tolist()
        position += 8 + length
        if position > size:
            raise ModelFileError(f"incomplete: {position - size} bytes are missing")
        check_bytes(length, "a variable")
        if kind not in (_MATRIX, _COMPRESSED):
            raise ModelFileError(f"an element of type {kind} where a variable should be")
        content = file.read(length)
        is_compressed = kind == _COMPRESSED
        head = _unpack(content, order, _HEAD) if is_compressed else content
        yield _Elements(head, order).head()[2], content, is_compressed


def _unpack(content: bytes, order: str, limit: int | None = None) -> bytes:
    """Decompress the data of the matrix in a compressed element: the first `limit` bytes, or all."""
    unpacker = zlib.decompressobj()
    tag = np.frombuffer(unpacker.decompress(content, 8), f"{order}u4")
    if tag.size != 2 or tag[0] != _MATRIX:
        raise ModelFileError("a compressed element that is not a variable")
    check_bytes(int(tag[1]), "the unpacked variable")
    # A limit of 0 would mean no limit to zlib.
    return unpacker.decompress(unpacker.unconsumed_tail, max(1, min(int(tag[1]), limit or MAX_BYTES)))


def _byte_order(header: bytes) -> str:
    if header.startswith(b"MATLAB 7.3"):
        raise ModelFileError("a MATLAB 7.3 file; save it again in MATLAB with -v7")
    if len(header) < _HEADER or header[126:] not in (b"IM", b"MI"):
        raise ModelFileError("not a MATLAB file of version 5 to 7")
    return "<" if header[126:] == b"IM" else ">"


class _Elements:
    """Read the data elements in a block of bytes, one after the other."""

    def __init__(self, data: bytes | memoryview, order: str) -> None:
        self.data = memoryview(data)
        self.order = order
        self.position = 0

    def tag(self) -> tuple[int, int]:
        """Read type and length in bytes of the next element, and move to its data."""
        words = self.data[self.position : self.position + 8]
        if len(words) < 8:
            raise ModelFileError("a variable is incomplete")
        first, second = np.frombuffer(words, f"{self.order}u4").tolist()
        if first >> 16:  # a small element: its data are in the eight bytes of the tag
            self.position += 4
            return first & 0xFFFF, first >> 16
        self.position += 8
        return first, second

    def element(self) -> tuple[int, memoryview]:
        """Read type and data of the next element."""
        start = self.position
        kind, length = self.tag()
        is_small = self.position == start + 4
        if length > (4 if is_small else len(self.data) - self.position):
            raise ModelFileError("a variable is incomplete")
        data = self.data[self.position : self.position + length]
        self.position = start + 8 if is_small else self.position + -(-length // 8) * 8
        return kind, data

    def numbers(self) -> NDArray[Any]:
        """Read the next element as an array of numbers."""
        kind, data = self.element()
        if kind not in _TYPES:
            raise ModelFileError(f"an element of type {kind} where numbers should be")
        return np.frombuffer(data, self.order + _TYPES[kind])

    def head(self) -> tuple[int, tuple[int, ...], str]:
        """Read flags, dimensions and name, with which every matrix begins."""
        flags, dimensions = self.numbers(), self.numbers()
        if flags.size != 2 or not 2 <= dimensions.size <= 32 or dimensions.min() < 0:
            raise ModelFileError("a variable has an invalid header")
        return int(flags[0]), tuple(dimensions.tolist()), self.element()[1].tobytes().decode("latin-1")

    def matrix(self, depth: int = 0) -> Value:
        """Read the value of the matrix that these bytes hold."""
        if not len(self.data):
            return np.empty((0, 0))  # MATLAB writes [] in a struct like this
        flags, shape, _name = self.head()
        kind = flags & 0xFF
        if kind in _NUMERIC and not flags & _COMPLEX:
            return self.numbers().reshape(shape, order="F")
        if kind == _CHAR:
            stored, data = self.element()
            return data.tobytes().decode(_TEXT.get(stored, "latin-1"), "replace")
        if kind == _STRUCT and prod(shape) == 1 and depth < _MAX_DEPTH:
            return self._fields(depth)
        return None

    def _fields(self, depth: int) -> dict[str, Value]:
        width = int(self.numbers().max(initial=0))
        table = self.element()[1].tobytes()
        if not 0 < width <= 64 or len(table) % width:
            raise ModelFileError("a struct has invalid field names")
        names = [table[i : i + width].split(b"\0")[0].decode("latin-1") for i in range(0, len(table), width)]
        fields: dict[str, Value] = {}
        for name in names:
            kind, data = self.element()
            if kind != _MATRIX:
                raise ModelFileError(f"field {name} is not a matrix")
            fields[name] = _Elements(data, self.order).matrix(depth + 1)
        return fields
