"""`synergy demo`: predictions on one real photo and on rendered faces, offline."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def demo(out: Annotated[Path, typer.Option(help="Folder for the pictures and index.html.")] = Path("demo_out")) -> None:
    """Landmarks, pose and mesh of a public-domain photo, and the bundled face model at several poses.

    Writes overlays, a textured GLB, JSON, CSV and an index.html that shows them. No network is needed.
    """
    from synergy.demo import build_demo

    typer.echo(f"open {build_demo(out)} in a browser")
