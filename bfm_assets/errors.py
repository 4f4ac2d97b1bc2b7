"""The one error of model files, and the guard that turns whatever a damaged file provokes into it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# No public model has half as much in one array; what claims more is damaged or hostile.
MAX_BYTES = 2**31


class ModelFileError(ValueError):
    """A morphable model file that cannot be used, with the one line that says why."""


@contextmanager
def reading(path: str | Path, kind: str) -> Iterator[None]:
    """Everything raised inside as a one-line `ModelFileError` that starts with the path.

    A parser that is fed damaged bytes may raise anything, out of memory included. `kind` says what was expected.
    """
    try:
        yield
    except FileNotFoundError as error:
        raise ModelFileError(f"{error.filename or path}: no such file") from None
    except ModelFileError as error:
        raise ModelFileError(str(error) if str(path) in str(error) else f"{path}: {error}") from None
    except Exception as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ModelFileError(f"{path}: not a readable {kind} ({reason})") from None


def check_bytes(count: int, what: str) -> None:
    """`ModelFileError` when `count` bytes are more than any model has."""
    if count > MAX_BYTES:
        raise ModelFileError(f"{what} takes {count / 1e9:.1f} GB, no morphable model does")
