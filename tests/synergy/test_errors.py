import os

import pytest

from synergy.errors import UserError, describe, encodable, printable

ERRORS = [
    # error                                              what is said
    (ValueError("boxes are wrong\nsecond line"), "boxes are wrong"),
    (UserError("a.jpg: no"), "a.jpg: no"),
    (MemoryError(), "out of memory"),
    (OSError(28, "No space left on device", "x"), "No space left on device"),
    (OSError("image file is truncated"), "image file is truncated"),
    (KeyError("name"), "KeyError: 'name'"),
    (RuntimeError(), "RuntimeError"),
]


@pytest.mark.parametrize(("error", "line"), ERRORS, ids=[line for _, line in ERRORS])
def test_every_error_is_one_line(error, line):
    assert describe(error) == line


TEXTS = [
    # text                                        printable                     encodable
    ("photo é 人 [b].jpg", "photo é 人 [b].jpg", "photo é 人 [b].jpg"),
    (os.fsdecode(b"caf\xe9.jpg"), r"caf\xe9.jpg", r"caf\xe9.jpg"),
    ("two\nlines\x1b[31m", r"two\nlines\x1b[31m", "two\nlines\x1b[31m"),
    ("\ud800", r"\ud800", r"\ud800"),
]


@pytest.mark.parametrize(("text", "shown", "stored"), TEXTS)
def test_names_can_be_shown_and_stored(text, shown, stored):
    assert printable(text) == shown
    assert encodable(text) == stored
    assert printable(text).isprintable()
    encodable(text).encode("utf-8")
