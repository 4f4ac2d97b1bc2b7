"""Write the table of formats in docs/meshes.md: `python docs/scripts/formats.py`."""

from __future__ import annotations

import re
from pathlib import Path

from synergy.result_formats import RESULT_FORMATS, ResultFormat

PAGE = Path(__file__).parents[1] / "meshes.md"
_PLACE = re.compile(r"(<!-- formats: [^\n]*-->\n).*?(<!-- end of formats -->)", re.DOTALL)


def table() -> str:
    """Return the table in Markdown."""
    rows = [f"| `{one.name}` | `{_file(one)}` | {one.description} |" for one in RESULT_FORMATS.values()]
    return "\n".join(["", "| `--format` | file of `photo.jpg` | content |", "|---|---|---|", *rows, "", ""])


def with_table(page: str) -> str:
    """Return a page with the present table at its place."""
    return _PLACE.sub(lambda found: found[1] + table() + found[2], page)


def _file(one: ResultFormat) -> str:
    """Return the name of a file for the input photo.jpg."""
    if one.kind == "table":
        return f"predictions{one.suffix}"
    return f"photo.jpg_{one.name}{one.suffix}" if one.kind == "picture" else f"photo.jpg_0{one.suffix}"


if __name__ == "__main__":
    PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
