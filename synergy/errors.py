"""Errors that the command line reports in one line."""

from __future__ import annotations

import errno

_FATAL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})


class UserError(Exception):
    """A problem that the user can fix, described in one line.

    Attributes:
        exit_status: with which the command line exits after it has printed the line.
    """

    exit_status = 2


class TimeLimitError(UserError):
    """A run has stopped at its time limit before it was finished. The same command continues it."""

    exit_status = 3


def is_fatal(error: Exception) -> bool:
    """Say whether an error means that nothing else can be written either, as on a full disk."""
    return isinstance(error, OSError) and error.errno in _FATAL


def describe(error: BaseException) -> str:
    """Describe any error in one line: the first line of its message, and its type where the message does not suffice.

    Example:
        >>> describe(ValueError("boxes are (K, 4)")), describe(MemoryError())
        ('boxes are (K, 4)', 'out of memory')
    """
    if isinstance(error, MemoryError):
        return "out of memory"
    text = str(error).strip().partition("\n")[0].strip()
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, (UserError, ValueError, OSError)) and text:
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def printable(text: str) -> str:
    r"""Escape what cannot be shown on one line: control characters, and bytes of file names that are not UTF-8.

    Example:
        >>> print(printable("caf\udce9\n.jpg"))
        caf\xe9\n.jpg
    """
    return "".join(char if char.isprintable() else _escape(char) for char in text)


def encodable(text: str) -> str:
    r"""Escape the bytes of a file name that are not UTF-8, so that files and JSON can hold it.

    Example:
        >>> print(encodable("caf\udce9.jpg"))
        caf\xe9.jpg
    """
    return "".join(_escape(char) if "\ud800" <= char <= "\udfff" else char for char in text)


def _escape(char: str) -> str:
    """Write a character as a backslash escape; Python reads a byte that is not UTF-8 as U+DC80 to U+DCFF."""
    code = ord(char)
    return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else char.encode("unicode_escape").decode()
