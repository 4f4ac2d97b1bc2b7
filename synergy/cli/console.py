"""Messages on the terminal. Names and error texts are printed as they are, never as rich's markup."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from synergy.errors import printable

if TYPE_CHECKING:
    from rich.console import Console


def error_console() -> Console:
    """Return a console on standard error that does not wrap lines."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, soft_wrap=True)


def line_console() -> Console:
    """Return a console on standard output that does not wrap lines."""
    from rich.console import Console

    return Console(highlight=False, soft_wrap=True)


def table_console() -> Console:
    """Return a console on standard output for tables.

    A table is as wide as its content needs where the output is not a terminal, for example in a file or a pipe. Rich
    would assume 80 columns and wrap the cells. The environment variable COLUMNS sets another width.
    """
    from rich.console import Console

    console = Console(highlight=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = 1000
    return console


def say(console: Console, text: str, label: str = "", style: str = "") -> None:
    """Print one line: a styled label and a plain text, whose control characters are escaped.

    Args:
        console: where to print.
        text: any text, for example an error message with a file name.
        label: a fixed word in front of it, for example "error:".
        style: rich style of the label.
    """
    from rich.text import Text

    console.print(Text.assemble((f"{label} ", style), printable(text)) if label else Text(printable(text)))
