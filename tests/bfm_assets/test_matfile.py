"""Variables of MATLAB files."""

from __future__ import annotations

import io
import zlib
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import scipy.io

from bfm_assets import ModelFileError
from bfm_assets.matfile import read_mat, read_mat_numbers, variables


@pytest.mark.parametrize("compressed", [True, False])
def test_only_what_is_asked_for(tmp_path: Path, compressed: bool) -> None:
    path = tmp_path / "a.mat"
    scipy.io.savemat(path, {"x": np.arange(3.0), "y": np.ones((2, 2)), "z": 1}, do_compression=compressed)
    assert set(variables(path)) == {"x", "y", "z"}
    found = read_mat(path, ("x",), ("y", "missing"))
    assert set(found) == {"x", "y"}
    assert found["x"].tolist() == [[0, 1, 2]]


def test_missing_variables(tmp_path: Path) -> None:
    scipy.io.savemat(tmp_path / "a.mat", {"x": 1})
    with pytest.raises(ModelFileError, match="it lacks the variables y, z"):
        read_mat(tmp_path / "a.mat", ("x", "y", "z"))


def test_matlab_7_3(tmp_path: Path) -> None:
    (tmp_path / "a.mat").write_bytes(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(512) + b"\x89HDF\r\n\x1a\n")
    with pytest.raises(ModelFileError, match="save it again in MATLAB with -v7"):
        variables(tmp_path / "a.mat")


@pytest.mark.parametrize("dtype", ["f8", "f4", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "?"])
@pytest.mark.parametrize("compressed", [True, False])
def test_every_type_arrives_as_scipy_writes_it(tmp_path: Path, dtype: str, compressed: bool) -> None:
    arrays = {
        f"v{i}": np.arange(24).reshape(shape).astype(dtype) for i, shape in enumerate([(4, 6), (2, 3, 4), (24, 1)])
    }
    arrays["empty"] = np.empty((0, 3), dtype)
    nested = {
        "s": {"a": arrays["v0"], "long_field_name": {"b": np.ones((1, 1))}, "text": "häß", "none": np.empty((0, 0))}
    }
    scipy.io.savemat(tmp_path / "a.mat", arrays | nested, do_compression=compressed)
    found = read_mat(tmp_path / "a.mat", (*arrays, "s"))
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array, name)
    np.testing.assert_array_equal(found["s"]["a"], arrays["v0"])
    assert found["s"]["long_field_name"]["b"] == 1
    assert found["s"]["text"] == "häß"
    assert found["s"]["none"].size == 0


def test_real_files_are_read_as_scipy_reads_them(shared_data: Path) -> None:
    paths = [
        *(shared_data / "3ddfa_partial").glob("*.mat"),
        *sorted((shared_data / "aflw2000_3d_sample").glob("*.mat"))[:3],
    ]
    for path in paths:
        expected = {key: value for key, value in scipy.io.loadmat(path).items() if not key.startswith("__")}
        assert set(variables(path)) == set(expected)
        for name, value in read_mat(path, tuple(expected)).items():
            np.testing.assert_array_equal(value, expected[name], name)


def test_what_is_no_number_text_or_struct_is_none(tmp_path: Path) -> None:
    cell = np.empty((1, 2), object)
    cell[0, :] = [1, 2]
    scipy.io.savemat(
        tmp_path / "a.mat", {"cell": cell, "complex": np.array([1j]), "structs": np.zeros(3, [("a", "f4")])}
    )
    assert read_mat(tmp_path / "a.mat", ("cell", "complex", "structs")) == dict.fromkeys(("cell", "complex", "structs"))


def test_a_variable_that_claims_too_much(tmp_path: Path) -> None:
    path = tmp_path / "a.mat"
    scipy.io.savemat(path, {"x": np.zeros((12345, 3), np.uint8)})
    content = path.read_bytes()
    shape = np.array([12345, 3], "<i4").tobytes()
    assert content.count(shape) == 1
    path.write_bytes(content.replace(shape, np.array([2**31 - 1, 3], "<i4").tobytes()))
    with pytest.raises(ModelFileError, match="cannot reshape"):
        read_mat(path, ("x",))


def test_a_compressed_variable_that_unpacks_to_too_much(tmp_path: Path) -> None:
    tag = np.array([14, 2**32 - 8], "<u4").tobytes()
    packed = zlib.compress(tag + bytes(1000))
    element = np.array([15, len(packed)], "<u4").tobytes() + packed
    (tmp_path / "a.mat").write_bytes(b"MATLAB 5.0 MAT-file".ljust(124) + b"\x00\x01IM" + element)
    with pytest.raises(ModelFileError, match="GB, more than any morphable model"):
        read_mat(tmp_path / "a.mat", ("x",))


def test_damage_to_a_compressed_file(tmp_path: Path) -> None:
    path = tmp_path / "a.mat"
    scipy.io.savemat(path, {"x": np.arange(300.0), "s": {"a": np.eye(9)}}, do_compression=True)
    whole, rng = path.read_bytes(), np.random.default_rng(0)
    for _ in range(200):
        damaged = np.frombuffer(whole, np.uint8).copy()
        damaged[rng.integers(100, len(whole), 3)] = rng.integers(0, 256, 3)
        path.write_bytes(damaged.tobytes()[: rng.integers(100, len(whole) + 1)])
        with suppress(ModelFileError):
            read_mat(path, (), ("x", "s"))


@pytest.mark.parametrize("content", [b"", b"text", b"MATLAB 5.0 MAT-file".ljust(128)])
def test_other_files_are_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.mat").write_bytes(content)
    with pytest.raises(ModelFileError) as caught:
        read_mat(tmp_path / "a.mat", ("x",))
    assert "\n" not in str(caught.value)
    with pytest.raises(ModelFileError, match="no such file"):
        read_mat(tmp_path / "b.mat", ("x",))


def mat_bytes(**arrays: object) -> bytes:
    buffer = io.BytesIO()
    scipy.io.savemat(buffer, arrays, do_compression=True)
    return buffer.getvalue()


def test_numbers_from_bytes_are_float64() -> None:
    arrays = read_mat_numbers(mat_bytes(a=np.eye(2, dtype=np.int16), b=3.0, c=1), "x.mat", ("a",), ("b", "d"))
    assert set(arrays) == {"a", "b"}
    assert arrays["a"].dtype == np.float64
    assert arrays["a"].tolist() == [[1, 0], [0, 1]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (mat_bytes(b=1), "x.mat: it lacks the variable a"),
        (mat_bytes(a="text"), "x.mat: a is not an array of numbers"),
        (mat_bytes(a={"b": 1}), "x.mat: a is not an array of numbers"),
        (mat_bytes(a=np.zeros(5000))[:150], "x.mat: incomplete"),
        (mat_bytes(a=np.random.default_rng(0).random(5000))[:9000], "x.mat: incomplete"),
        (b"", "x.mat: not a MATLAB file"),
        (b"no mat at all" * 20, "x.mat: not a MATLAB file"),
        (b"MATLAB 7.3 MAT-file, Platform: GLNXA64" + bytes(200), "MATLAB 7.3"),
    ],
)
def test_bad_bytes_are_one_line(content: bytes, message: str) -> None:
    with pytest.raises(ModelFileError, match=message) as caught:
        read_mat_numbers(content, "x.mat", ("a",))
    assert "\n" not in str(caught.value)


def test_every_truncation_of_bytes_is_an_error() -> None:
    whole = mat_bytes(a=np.random.default_rng(0).random(300))
    for end in range(0, len(whole) - 1, 53):
        with pytest.raises(ModelFileError):
            read_mat_numbers(whole[:end], "x.mat", ("a",))
