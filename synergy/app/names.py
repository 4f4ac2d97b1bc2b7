"""Names that users give to their files."""

from __future__ import annotations

import re

_MAX_LENGTH = 80


def clean_name(name: str, default: str) -> str:
    r"""Return the last part of a file name, without anything that a header, a path or a page could misread.

    Args:
        name: any text.
        default: the result if nothing is left.

    Example:
        >>> clean_name("C:\\photos\\Ann & Bob.jpg", "photo"), clean_name("../..", "photo")
        ('Ann _ Bob.jpg', 'photo')
    """
    last = re.split(r"[/\\]", name)[-1]
    kept = re.sub(r"[^\w .()+-]", "_", last).strip(" .")
    return kept[:_MAX_LENGTH] or default
