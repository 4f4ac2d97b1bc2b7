import io

import numpy as np
import pytest
from scipy.io import savemat

from synergy.data.matfile import read_mat
from synergy.data.reader import SampleError


def mat(**variables: object) -> bytes:
    buffer = io.BytesIO()
    savemat(buffer, variables, do_compression=True)
    return buffer.getvalue()


def test_required_and_optional_variables_come_as_float64() -> None:
    arrays = read_mat(mat(a=np.eye(2, dtype=np.int16), b=3.0, c=1), "x.mat", ("a",), ("b", "d"))
    assert set(arrays) == {"a", "b"}
    assert arrays["a"].dtype == np.float64
    assert arrays["a"].tolist() == [[1, 0], [0, 1]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (mat(b=1), "x.mat lacks a"),
        (mat(a="text"), "a is not numeric"),
        (mat(a=np.zeros(5000))[:150], "not a complete .mat file"),
        (mat(a=np.random.default_rng(0).random(5000))[:9000], "not a complete .mat file"),
        (b"", "not a complete .mat file"),
        (b"no mat at all" * 20, "not a complete .mat file"),
        (b"MATLAB 7.3 MAT-file, Platform: GLNXA64" + bytes(200), "MATLAB 7.3"),
    ],
)
def test_bad_files_are_one_line(content: bytes, message: str) -> None:
    with pytest.raises(SampleError, match=message) as caught:
        read_mat(content, "x.mat", ("a",))
    assert "\n" not in str(caught.value)


def test_every_truncation_is_a_clear_error() -> None:
    whole = mat(a=np.random.default_rng(0).random(300))
    for end in range(0, len(whole) - 1, 53):
        with pytest.raises(SampleError):
            read_mat(whole[:end], "x.mat", ("a",))
