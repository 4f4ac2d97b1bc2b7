"""MATLAB `.mat` files, versions 5 to 7: numeric arrays, text and structs, by variable.

Written for files of unknown origin. scipy's reader, in C, can crash on damaged bytes (a segmentation fault in
scipy 1.17, found by the fuzz tests here); this one checks every length before it looks, and reads nothing but the
variables asked for. The format is MathWorks' "MAT-File Format", chapter 1.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from bfm_assets.errors import MAX_BYTES, ModelFileError, check_bytes, reading

Value = NDArray[Any] | str | dict[str, Any] | None

_TYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_TEXT = {1: "latin-1", 2: "latin-1", 4: "utf-16", 16: "utf-8", 17: "utf-16", 18: "utf-32"}
_MATRIX, _COMPRESSED = 14, 15
_STRUCT, _CHAR, _NUMERIC = 2, 4, range(6, 16)
_COMPLEX = 0x800
_HEADER = 128
# Enough of a compressed variable to know its name.
_HEAD = 1024
_MAX_DEPTH = 4


def variables(path: str | Path) -> tuple[str, ...]:
    """Names of the variables in a `.mat` file."""
    with reading(path, ".mat file"), Path(path).open("rb") as file:
        return tuple(name for name, _content, _packed in _entries(file, _byte_order(file.read(_HEADER))))


def read_mat(path: str | Path, required: tuple[str, ...], optional: tuple[str, ...] = ()) -> dict[str, Value]:
    """The `required` variables and those `optional` ones that are there; nothing else is loaded.

    Arrays have the file's shape and the type that they are stored in, which for whole numbers is often a small one;
    text is str, a struct is a dict by field, and anything else is None.
    """
    with reading(path, ".mat file"), Path(path).open("rb") as file:
        found = read_variables(file, (*required, *optional))
        if missing := [name for name in required if name not in found]:
            raise ModelFileError(f"it lacks the variable{'s' * (len(missing) > 1)} {', '.join(missing)}")
        return found


def read_variables(file: BinaryIO, wanted: tuple[str, ...]) -> dict[str, Value]:
    """The variables of an open `.mat` file that are `wanted` and there.

    Raises:
        ModelFileError, ValueError, zlib.error: damaged, or of another version.
    """
    order = _byte_order(file.read(_HEADER))
    return {
        name: _Elements(_unpack(content, order) if packed else content, order).matrix()
        for name, content, packed in _entries(file, order)
        if name in wanted
    }


def _entries(file: BinaryIO, order: str) -> Iterator[tuple[str, bytes, bool]]:
    """Name and content of each variable after the header, and whether the content is compressed."""
    size = file.seek(0, 2)
    position = _HEADER
    while position + 8 <= size:
        file.seek(position)
        kind, length = np.frombuffer(file.read(8), f"{order}u4").tolist()
        position += 8 + length
        if position > size:
            raise ModelFileError(f"cut short: {position - size} bytes are missing")
        check_bytes(length, "a variable")
        if kind not in (_MATRIX, _COMPRESSED):
            raise ModelFileError(f"an element of type {kind} among the variables")
        content = file.read(length)
        packed = kind == _COMPRESSED
        head = _unpack(content, order, _HEAD) if packed else content
        yield _Elements(head, order).head()[2], content, packed


def _unpack(content: bytes, order: str, limit: int | None = None) -> bytes:
    """The data of the matrix that a compressed element holds, its first `limit` bytes or all."""
    unpacker = zlib.decompressobj()
    tag = np.frombuffer(unpacker.decompress(content, 8), f"{order}u4")
    if tag.size != 2 or tag[0] != _MATRIX:
        raise ModelFileError("a compressed element that is no variable")
    check_bytes(int(tag[1]), "the unpacked variable")
    # zlib takes a limit of nothing for no limit
    return unpacker.decompress(unpacker.unconsumed_tail, max(1, min(int(tag[1]), limit or MAX_BYTES)))


def _byte_order(header: bytes) -> str:
    if header.startswith(b"MATLAB 7.3"):
        raise ModelFileError("a MATLAB 7.3 file, save it again with -v7")
    if len(header) < _HEADER or header[126:] not in (b"IM", b"MI"):
        raise ModelFileError("not a MATLAB file of version 5 to 7")
    return "<" if header[126:] == b"IM" else ">"


class _Elements:
    """Reads the data elements in some bytes, one after the other."""

    def __init__(self, data: bytes | memoryview, order: str) -> None:
        self.data = memoryview(data)
        self.order = order
        self.position = 0

    def tag(self) -> tuple[int, int]:
        """Type and length in bytes of the next element, whose data the position then is at."""
        words = self.data[self.position : self.position + 8]
        if len(words) < 8:
            raise ModelFileError("a variable is cut short")
        first, second = np.frombuffer(words, f"{self.order}u4").tolist()
        if first >> 16:  # a small element: its data share the tag's eight bytes
            self.position += 4
            return first & 0xFFFF, first >> 16
        self.position += 8
        return first, second

    def element(self) -> tuple[int, memoryview]:
        """Type and data of the next element."""
        start = self.position
        kind, length = self.tag()
        is_small = self.position == start + 4
        if length > (4 if is_small else len(self.data) - self.position):
            raise ModelFileError("a variable is cut short")
        data = self.data[self.position : self.position + length]
        self.position = start + 8 if is_small else self.position + -(-length // 8) * 8
        return kind, data

    def numbers(self) -> NDArray[Any]:
        """The next element as an array of numbers."""
        kind, data = self.element()
        if kind not in _TYPES:
            raise ModelFileError(f"an element of type {kind} in place of numbers")
        return np.frombuffer(data, self.order + _TYPES[kind])

    def head(self) -> tuple[int, tuple[int, ...], str]:
        """Flags, dimensions and name that every matrix begins with."""
        flags, dimensions = self.numbers(), self.numbers()
        if flags.size != 2 or not 2 <= dimensions.size <= 32 or dimensions.min() < 0:
            raise ModelFileError("a variable has no valid head")
        return int(flags[0]), tuple(dimensions.tolist()), self.element()[1].tobytes().decode("latin-1")

    def matrix(self, depth: int = 0) -> Value:
        """The value of a matrix element whose data this is."""
        if not len(self.data):
            return np.empty((0, 0))  # how MATLAB writes [] within a struct
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
            raise ModelFileError("a struct has no valid field names")
        names = [table[i : i + width].split(b"\0")[0].decode("latin-1") for i in range(0, len(table), width)]
        fields: dict[str, Value] = {}
        for name in names:
            kind, data = self.element()
            if kind != _MATRIX:
                raise ModelFileError(f"field {name} is no matrix")
            fields[name] = _Elements(data, self.order).matrix(depth + 1)
        return fields
