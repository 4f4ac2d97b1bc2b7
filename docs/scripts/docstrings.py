"""A griffe extension: docstrings in the form that the API pages can show."""

from __future__ import annotations

import re
from typing import Any

from griffe import Extension, Object

# Two or more spaces inside a line: columns that are aligned with spaces.
_COLUMNS = re.compile(r"\S {2,}\S")


class Docstrings(Extension):
    """Prepare docstrings for Markdown.

    griffe calls a section with doctests `Examples:`. Tables that are aligned with spaces would become one paragraph, so
    they become blocks of code.
    """

    def on_object(self, *, obj: Object, **_: Any) -> None:
        """Change the docstring of an object."""
        if obj.docstring is not None:
            text = re.sub(r"^Example:$", "Examples:", obj.docstring.value, flags=re.MULTILINE)
            obj.docstring.value = "\n\n".join(_paragraph(part) for part in text.split("\n\n"))


def _paragraph(text: str) -> str:
    """Return a paragraph, as a block of code if it is a table that is aligned with spaces."""
    lines = text.splitlines()
    if ">>>" in text or not lines or lines[0].startswith(" ") or lines[0].endswith(":"):
        return text
    return f"```text\n{text}\n```" if any(_COLUMNS.search(line) for line in lines) else text
