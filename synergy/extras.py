"""Optional packages, which an extra of this package installs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from synergy.errors import UserError


@contextmanager
def needs_extra(extra: str, feature: str) -> Iterator[None]:
    """Report in one line that an optional package is missing.

    Args:
        extra: extra of this package that installs it.
        feature: what needs it, as the start of a sentence.

    Raises:
        UserError: an import inside the `with` block did not find its package.

    Example:
        >>> with needs_extra("eval", "--report"):
        ...     import a_package_that_is_not_installed
        Traceback (most recent call last):
        synergy.errors.UserError: --report needs a_package_that_is_not_installed: pip install 'synergy-face[eval]'
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = str(error.name).partition(".")[0]
        raise UserError(f"{feature} needs {package}: pip install 'synergy-face[{extra}]'") from None
