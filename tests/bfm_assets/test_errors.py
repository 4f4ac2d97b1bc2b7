"""One line for whatever goes wrong while a file is read."""

from __future__ import annotations

import pytest

from bfm_assets.errors import ModelFileError, check_bytes, reading


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
