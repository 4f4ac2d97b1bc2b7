"""`synergy demo`: a page about one real photo, rendered faces, and a tracked clip of both, offline."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def demo(out: Annotated[Path, typer.Option(help="Folder for the pictures and index.html.")] = Path("demo_out")) -> None:
    """Write a page about a public-domain photo, a tracked clip, and rendered faces in known poses.

    The folder gets an index.html, and the pictures, videos, meshes and numbers that it shows. No network is needed. The
    photo needs the extra `demo`, and the clip the extra `video`.
    """
    import torch

    from synergy.demo import build_demo

    # With more threads, small operations wait for each other where the machine is busy.
    torch.set_num_threads(1)
    typer.echo(f"open {build_demo(out)} in a browser")
