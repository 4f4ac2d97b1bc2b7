"""`synergy assets`: list, import, draw and measure morphable models, and build the bundled one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from synergy.cli.console import line_console
from synergy.cli.options import Renderer, RendererOption

if TYPE_CHECKING:
    from bfm_assets import MorphableModel

app = typer.Typer(help="List, import, draw, measure and build morphable models.", no_args_is_help=True)

_KEYPOINTS_HELP = "File of 68 vertex indices that count from 0 (.npy or text), for models without landmarks."


@app.command("list")
def list_models(
    models: Annotated[
        list[Path] | None,
        typer.Argument(help="Model files or folders of any public format; the bundled one by default."),
    ] = None,
    keypoints: Annotated[Path | None, typer.Option(help=_KEYPOINTS_HELP)] = None,
) -> None:
    """Print name, size, units and licence of models."""
    from bfm_assets import open_face, read_model

    console = line_console()
    named = [(str(path), read_model(path, keypoints)) for path in models or []]
    for name, model in named or [("bundled", open_face())]:
        console.print(f"{model.name}  {model.digest}  ({name})", markup=False)
        for line in (*_summary(model), f"licence: {model.licence}"):
            console.print(f"  {line}", markup=False)


@app.command("import")
def import_model(
    source: Annotated[Path, typer.Argument(help="A model file or folder of any public format.")],
    to: Annotated[Path, typer.Option("--to", help="The .npz to write. A picture of the landmarks lies next to it.")],
    keypoints: Annotated[Path | None, typer.Option(help=_KEYPOINTS_HELP)] = None,
) -> None:
    """Convert a model of any public format to .npz, and print what was assumed."""
    from bfm_assets.detect import detect_format
    from synergy.errors import UserError
    from synergy.outputs import require_writable_folder

    if to.suffix != ".npz":
        raise UserError(f"{to}: models are written as .npz")
    console = line_console()
    with console.status(f"reading {source}"):
        found = detect_format(source)
        model = found.read(source, keypoints)
    console.print(f"{source}: {found.name}", markup=False)
    for line in _summary(model):
        console.print(f"  {line}", markup=False)
    for line in found.assumptions:
        console.print(f"  assumed: {line}", markup=False)
    console.print(f"  licence: {model.licence}", markup=False)
    if model.licence not in _FREE:
        console.print("  This licence also covers the written file and its picture: do not pass them on.")
    with console.status(f"writing {to}"):
        require_writable_folder(to.parent)
        model.save(to)
        _write_preview(model, to.with_suffix(".png"))
    console.print(f"wrote {to} ({to.stat().st_size / 1e6:.1f} MB) and {to.with_suffix('.png')}", markup=False)


@app.command("show")
def show_model(
    source: Annotated[
        Path | None, typer.Argument(help="A model file or folder of any public format; the bundled one by default.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for the pictures.")] = Path("sheets"),
    keypoints: Annotated[Path | None, typer.Option(help=_KEYPOINTS_HELP)] = None,
    seed: Annotated[int, typer.Option(help="Seed of the random people.")] = 0,
    renderer: RendererOption = Renderer.BUILTIN,
) -> None:
    """Draw contact sheets of a model: mean, shape modes, expressions and random people, from three sides."""
    from functools import partial

    from rich.progress import track

    from bfm_assets import open_face, read_model
    from synergy.images import write_image
    from synergy.outputs import require_writable_folder
    from synergy.raster import rasterizer
    from synergy.sheets import draw_sheet, sheets

    draw_triangles = rasterizer(renderer.value)
    console = line_console()
    model = open_face() if source is None else read_model(source, keypoints)
    require_writable_folder(out)
    for sheet in sheets(model, seed):
        follow = partial(
            track, description=sheet.name, console=console, transient=True, disable=not console.is_terminal
        )
        path = out / f"{sheet.name}.png"
        write_image(path, draw_sheet(model, sheet, follow, draw_triangles))
        console.print(f"{path}: {len(sheet.people)} faces", markup=False)


@app.command("build")
def build_model(
    ict: Annotated[Path, typer.Option("--ict", help="ICT-FaceKit packed as one .npz.", show_default=False)],
    to: Annotated[Path, typer.Option("--to", help="The .npz to write.", show_default=False)],
) -> None:
    """Build the bundled open face from ICT-FaceKit; the same bytes on every machine, in about half a minute."""
    from synergy.errors import UserError
    from synergy.outputs import require_writable_folder
    from train.open_face.build import build_open_face

    if to.suffix != ".npz":
        raise UserError(f"{to}: models are written as .npz")
    require_writable_folder(to.parent)
    console = line_console()
    with console.status(f"building the open face from {ict}"):
        model = build_open_face(ict)
        model.save(to)
    console.print(f"{to}: {model.name}, digest {model.digest}, {to.stat().st_size / 1e6:.2f} MB", markup=False)
    for line in _summary(model):
        console.print(f"  {line}", markup=False)


@app.command("report")
def report_model(
    source: Annotated[
        Path | None, typer.Argument(help="A model file or folder of any public format; the bundled one by default.")
    ] = None,
    ict: Annotated[Path | None, typer.Option("--ict", help="ICT-FaceKit packed as one .npz.")] = None,
    bfm68: Annotated[Path | None, typer.Option("--bfm68", help="BFM's 68-point basis.")] = None,
    helen: Annotated[Path | None, typer.Option("--helen", help="Folder, tar or zip of images with .pts files.")] = None,
) -> None:
    """Measure how well a model explains random faces of other models, and annotated faces."""
    from bfm_assets import open_face, read_model
    from synergy.errors import UserError
    from train.open_face.report import report

    if not (ict or bfm68 or helen):
        raise UserError("nothing to measure against: give --ict, --bfm68 or --helen")
    console = line_console()
    for line in report(open_face() if source is None else read_model(source), ict, bfm68, helen):
        console.print(line, markup=False)


# Licences under which a written model may be passed on.
_FREE = ("MIT", "CC0-1.0")


def _summary(model: MorphableModel) -> list[str]:
    """Describe size and units of a model in a few lines."""
    size = (model.mean.max(0) - model.mean.min(0)) * model.mm_per_unit
    return [
        f"{model.n_vertices:,} vertices, {len(model.triangles):,} triangles"
        + (", no mesh" if not model.is_dense else ""),
        f"{model.n_shape} shape and {model.n_expression} expression modes, 68 landmarks",
        f"one unit is {model.mm_per_unit:g} mm: the mean is {size[0]:.0f} x {size[1]:.0f} x {size[2]:.0f} mm",
        f"colours: {'yes' if model.colours is not None else 'no'}, uv: {'yes' if model.uv is not None else 'no'}",
    ]


def _write_preview(model: MorphableModel, path: Path) -> None:
    """Draw the mean face with its landmarks, from three sides."""
    from synergy.images import write_image
    from synergy.sheets import draw_sheet, sheets

    write_image(path, draw_sheet(model, sheets(model)[0]))
