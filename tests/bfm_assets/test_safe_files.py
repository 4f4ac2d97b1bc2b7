"""Errors are one line, sizes are limited, and numpy files are read without pickle."""

from __future__ import annotations

import struct
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile

import numpy as np
import pytest

from bfm_assets.safe_files import ModelFileError, check_bytes, read_array, read_arrays, reading


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ValueError("two\nlines"), "model.bin: not a readable thing (two lines)"),
        (MemoryError(), "model.bin: not a readable thing (MemoryError)"),
        (FileNotFoundError(2, "No such file", "other.bin"), "other.bin: no such file"),
        (ModelFileError("it is empty"), "model.bin: it is empty"),
        (ModelFileError("model.bin: it is empty"), "model.bin: it is empty"),
    ],
)
def test_messages(error: Exception, message: str) -> None:
    with pytest.raises(ModelFileError) as caught, reading("model.bin", "thing"):
        raise error
    assert str(caught.value) == message


def test_our_own_interruptions_pass() -> None:
    with pytest.raises(KeyboardInterrupt), reading("model.bin", "thing"):
        raise KeyboardInterrupt


def test_sizes() -> None:
    check_bytes(10**9, "it")
    with pytest.raises(ModelFileError, match=r"it takes 5\.0 GB"):
        check_bytes(5 * 10**9, "it")


def test_arrays_arrive(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.arange(3), y=np.array(["name"]))
    assert read_arrays(tmp_path / "a.npz", ("x",), "thing")["y"].tolist() == ["name"]
    np.save(tmp_path / "a.npy", np.arange(3))
    assert read_array(tmp_path / "a.npy").tolist() == [0, 1, 2]


def test_missing_arrays_and_files(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.arange(3))
    with pytest.raises(ModelFileError, match="not a thing, it lacks y, z"):
        read_arrays(tmp_path / "a.npz", ("x", "y", "z"), "thing")
    for read in (read_array, lambda path: read_arrays(path, (), "thing")):
        with pytest.raises(ModelFileError, match="no such file"):
            read(tmp_path / "b")


def test_pickles_inside_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.array([{}]))
    np.save(tmp_path / "a.npy", np.array([{}]))
    with pytest.raises(ModelFileError, match="allow_pickle"):
        read_arrays(tmp_path / "a.npz", (), "thing")
    with pytest.raises(ModelFileError, match="allow_pickle"):
        read_array(tmp_path / "a.npy")


def test_text_is_no_array_of_numbers(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array(["text"]))
    with pytest.raises(ModelFileError, match="not hold an array of numbers"):
        read_array(tmp_path / "a.npy")


def test_a_zip_that_unpacks_to_too_much(tmp_path: Path) -> None:
    path = tmp_path / "bomb.npz"
    with ZipFile(path, "w", ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", b"0" * 1000)
    content = bytearray(path.read_bytes())
    size = content.rindex(b"PK\x01\x02") + 24  # the unpacked size in the directory
    content[size : size + 4] = struct.pack("<I", 2**32 - 2)
    path.write_bytes(bytes(content))
    with pytest.raises(ModelFileError, match=r"4\.3 GB, more than any morphable model"):
        read_arrays(path, (), "thing")


def test_a_header_that_claims_terabytes(tmp_path: Path) -> None:
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000,), }"
    (tmp_path / "a.npy").write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header)
    with pytest.raises(ModelFileError):
        read_array(tmp_path / "a.npy")


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04", b"\x93NUMPY"])
def test_other_files_are_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a").write_bytes(content)
    for read in (read_array, lambda path: read_arrays(path, (), "thing")):
        with pytest.raises(ModelFileError) as caught:
            read(tmp_path / "a")
        assert "\n" not in str(caught.value)
