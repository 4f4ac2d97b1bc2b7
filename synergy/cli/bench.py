"""`synergy bench`: measure speed and size of a network on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from synergy.cli.options import BfmOption, NetworkOption


def bench(
    model: NetworkOption = "synergynet",
    bfm: BfmOption = None,
    threads: Annotated[int, typer.Option(help="Number of CPU threads; 0 leaves the choice to torch.")] = 0,
    repeats: Annotated[int, typer.Option(help="Number of timed calls per stage; the median is reported.")] = 50,
    json_file: Annotated[Path | None, typer.Option("--json", help="Also write the measurements to this file.")] = None,
) -> None:
    """Measure latency, throughput, parameters, multiply-adds and memory."""
    import json

    import torch
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from synergy.benchmark import measure
    from synergy.outputs import require_writable_file
    from synergy.registry import open_network

    if json_file is not None:
        require_writable_file(json_file)
    if threads:
        torch.set_num_threads(threads)
    figures = measure(open_network(model, bfm), repeats)
    table = Table("figure", "value", "unit", title=Text(f"{model}, {torch.get_num_threads()} threads"))
    for figure in figures:
        table.add_row(figure.name, f"{figure.value:.4g}", figure.unit)
    Console().print(table)
    if json_file:
        json_file.write_text(json.dumps({f.name: {"value": f.value, "unit": f.unit} for f in figures}, indent=2) + "\n")
