"""Pickles of arrays are read, and nothing in a pickle is executed."""

from __future__ import annotations

import os
import pickle
import subprocess
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bfm_assets import ModelFileError
from bfm_assets.unpickle import read_pickle


class _Call:
    """Pickles as a call of `function(*arguments)`."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


def _write(path: Path, value: Any, protocol: int = 4) -> Path:
    path.write_bytes(pickle.dumps(value, protocol))
    return path


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("dtype", ["f4", ">f8", "i8", "u1", "?", "f2"])
def test_arrays_arrive(tmp_path: Path, protocol: int, dtype: str) -> None:
    c_order = np.arange(12).reshape(3, 4).astype(dtype)
    content = {"c": c_order, "f": np.asfortranarray(c_order), "list": [1, 2.5, "text", None, (c_order,)]}
    found = read_pickle(_write(tmp_path / "a.pkl", content, protocol))
    for array in (found["c"], found["f"], found["list"][4][0]):
        np.testing.assert_array_equal(array, c_order)
    assert found["list"][:4] == [1, 2.5, "text", None]


def test_real_pickles(shared_data: Path) -> None:
    for name, key in (("param_whitening.pkl", "param_std"), ("param_mean_std_62d_120x120.pkl", "std")):
        path = shared_data / "3ddfa_partial" / name
        with path.open("rb") as file:
            trusted = pickle.load(file)
        np.testing.assert_array_equal(read_pickle(path)[key], trusted[key])


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda trap: _Call(os.mkdir, trap), r"(posix|nt)\.mkdir"),
        (lambda trap: _Call(os.system, f"mkdir {trap}"), r"(posix|nt)\.system"),
        (lambda trap: _Call(eval, f"__import__('os').mkdir({trap!r})"), r"(builtins|__builtin__)\.eval"),
        (lambda trap: _Call(subprocess.run, ["mkdir", trap]), r"(subprocess|commands)\.run"),
        (lambda trap: _Call(np.memmap, trap, "u1", "w+", 0, (8,)), r"numpy.*memmap"),
    ],
    ids=["mkdir", "system", "eval", "subprocess", "memmap"],
)
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_code_is_refused_by_name_and_not_run(tmp_path: Path, call: Any, name: str, protocol: int) -> None:
    trap = tmp_path / "ran"
    path = _write(tmp_path / "evil.pkl", {"u": np.ones(3), "w": [call(str(trap))]}, protocol)
    with pytest.raises(ModelFileError, match=f"refers to '{name}', which is not allowed; nothing was executed"):
        read_pickle(path)
    assert not trap.exists()
    with path.open("rb") as file:
        pickle.load(file)  # the same bytes do run elsewhere: the test is not empty
    assert trap.exists()


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (np.array([{}]), "arrays of type"),
        (np.array(["text"]), "arrays of type"),
        (np.zeros(2, [("a", "f4")]), "arrays of type"),
        ({1, 2}, "set"),
        (1j, "complex"),
        (Path("a"), "Path"),
    ],
)
def test_anything_but_numbers_is_refused(tmp_path: Path, value: Any, reason: str) -> None:
    with pytest.raises(ModelFileError, match=reason):
        read_pickle(_write(tmp_path / "a.pkl", {"u": value}))


def test_shapes_that_the_bytes_do_not_fill(tmp_path: Path) -> None:
    """numpy's own unpickling trusts the shape; here it must fit."""
    content = pickle.dumps(np.zeros(4), 2)
    assert content.count(b"K\x04") == 1
    path = tmp_path / "a.pkl"
    path.write_bytes(content.replace(b"K\x04", b"K\xff"))
    with pytest.raises(ModelFileError, match="cannot reshape"):
        read_pickle(path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x80\x04",
        b"\x80\x04r\xff\xff\xff\xff.",  # a memo of 32 GB in C
        b"\x80\x04\x8e" + b"\xff" * 7 + b"\x7f.",  # bytes of 2^63
        b"\x80\x05\x96" + b"\xff" * 7 + b"\x7f.",  # a bytearray of 2^63
        b"\x80\x04]\x94h\x00a.",  # a list within itself
        b"\x80\x04" + b"]" * 5000 + b"a" * 4999 + b".",
        b"cos\nsystem\n.",
        b"\x80\x04}\x94}b.",  # state set on a dict
        b"\x80\x02cnumpy\ndtype\n}X\x01\x00\x00\x00xK\x01sb.",  # state set on a class
    ],
)
def test_damaged_and_crafted_pickles_are_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.pkl"
    path.write_bytes(content)
    with pytest.raises(ModelFileError) as caught:
        read_pickle(path)
    assert "\n" not in str(caught.value)


def test_a_bytearray_takes_no_more_memory_than_its_file(tmp_path: Path) -> None:
    path = tmp_path / "a.pkl"
    path.write_bytes(b"\x80\x05\x96" + (2**30).to_bytes(8, "little") + b"abc.")
    tracemalloc.start()
    with pytest.raises(ModelFileError, match="a bytearray is incomplete"):
        read_pickle(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10_000_000
    path.write_bytes(pickle.dumps([bytearray(b"abc")], 5))
    assert read_pickle(path) == [bytearray(b"abc")]


def test_a_container_that_is_repeated_billions_of_times_is_read_once(tmp_path: Path) -> None:
    value: list[Any] = [1]
    for _ in range(7):
        value = [value] * 1000
    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps(value))
    read = read_pickle(path)
    assert [len(read), read[5][7][0][0][0][0][999]] == [1000, [1]]


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="no such file"):
        read_pickle(tmp_path / "a.pkl")
