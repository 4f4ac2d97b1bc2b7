"""`synergy label DATASET --out PACK`, and `synergy label show | merge`: landmarks to 3DMM labels."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from synergy.registry import BFM_HELP, MODEL_HELP


class _BuildByDefault(TyperGroup):
    """What is neither a command nor an option is the data set of `build`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] != "--help":
            args = ["build", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=_BuildByDefault,
    no_args_is_help=True,
    help="Fit 3DMM labels to anyone's landmarks: [bold]synergy label DATASET --out PACK[/].",
)


@contextmanager
def _progress(what: str) -> Iterator[tuple[Callable[[int, int], None], Callable[[str], None]]]:
    """A progress bar on stderr: what tells it (done, total), and what prints a line above it, whole."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    console = Console(stderr=True, highlight=False, soft_wrap=True)
    with Progress(what, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=console) as bar:
        task = bar.add_task("", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total), bar.console.print


@app.command()
def build(
    dataset: Annotated[str, typer.Argument(help="Folder, tar or zip with landmarks (.pts, .mat, the AFLW pack...).")],
    out: Annotated[Path, typer.Option(help="The pack's folder; a run that was cut off is taken up again.")],
    model: Annotated[
        Path | None, typer.Option(help="Morphable model to fit; the bundled open face by default.")
    ] = None,
    teacher: Annotated[
        Path | None, typer.Option(help="A network's predictions (.npz), combined with the labels.")
    ] = None,
    calibration: Annotated[Path | None, typer.Option(help="calibration.npz of another pack.")] = None,
    profile: Annotated[bool, typer.Option("--profile", help="Add views turned outwards, up to 90 degrees.")] = False,
    step: Annotated[float, typer.Option(help="Degrees between those views.")] = 15.0,
    mirror: Annotated[bool, typer.Option("--mirror", help="Add mirrored copies.")] = False,
    like: Annotated[str | None, typer.Option(help="300w-lp: write .jpg and .mat of that layout instead.")] = None,
    held_out: Annotated[list[str] | None, typer.Option(help="Data sets whose images must not be in the pack.")] = None,
    split: Annotated[str, typer.Option(help="train or val.")] = "train",
    name: Annotated[str | None, typer.Option(help="What to call the data set; its file name by default.")] = None,
    limit: Annotated[int | None, typer.Option(help="Only the first so many faces.")] = None,
) -> None:
    """Label a data set and write a training pack (images, landmarks, parameters, manifest)."""
    from train.labels.build import build_pack

    with _progress("Labelling") as (update, say):
        path = build_pack(
            dataset,
            out,
            model,
            teacher,
            calibration,
            profile=profile,
            step_deg=step,
            mirror=mirror,
            like=like,
            held_out=held_out or (),
            split=split,
            source_name=name,
            limit=limit,
            progress=update,
            warn=lambda line: say(f"[yellow]warning:[/] {line}"),
        )
        say(f"written: {path}")


@app.command()
def render(
    out: Annotated[Path, typer.Option(help="The pack's folder; a run that was cut off is taken up again.")],
    faces: Annotated[int, typer.Option(min=1, help="How many.")] = 5000,
    model: Annotated[Path | None, typer.Option(help="Dense morphable model; the bundled open face by default.")] = None,
    seed: Annotated[int, typer.Option(help="Of all that is random.")] = 0,
) -> None:
    """Render random faces with exact labels as a training pack: no photos needed."""
    from bfm_assets import open_face, read_model
    from train.labels.rendered import render_pack

    face_model = open_face() if model is None else read_model(model)
    with _progress("Rendering") as (update, say):
        say(f"written: {render_pack(out, face_model, faces, seed, update)}")


@app.command()
def predict(
    pack: Annotated[Path, typer.Argument(help="A pack of photos.")],
    out: Annotated[Path, typer.Option(help="The .npz to write.")] = Path("teacher.npz"),
    weights: Annotated[str, typer.Option(help=MODEL_HELP)] = "synergynet",
    bfm: Annotated[Path | None, typer.Option(help=BFM_HELP)] = None,
    model: Annotated[Path | None, typer.Option(help="Morphable model of the labels; the open face by default.")] = None,
) -> None:
    """Predict a pack's photos, as --teacher of labels better than those that the network was trained on."""
    from bfm_assets import open_face, read_model
    from synergy.predictor import FacePredictor
    from synergy.registry import open_network
    from train.labels.predict import predict_pack

    face_model = open_face() if model is None else read_model(model)
    with _progress("Predicting") as (update, say):
        predict_pack(pack, out, FacePredictor(open_network(weights, bfm), mirror=True), face_model, update)
        say(f"written: {out}")


@app.command()
def show(
    pack: Annotated[Path, typer.Argument(help="A pack.")],
    out: Annotated[Path, typer.Option(help="Picture to write.")] = Path("labels.png"),
    worst: Annotated[
        bool, typer.Option("--worst", help="The least trusted labels instead of a sample per yaw.")
    ] = False,
) -> None:
    """Draw a contact sheet: landmarks, hand labels, the mesh's outline and the head's axes."""
    from train.labels.sheet import show_pack

    typer.echo(show_pack(pack, out, worst=worst))


@app.command()
def merge(
    packs: Annotated[list[Path], typer.Argument(help="Packs of one morphable model.")],
    out: Annotated[Path, typer.Option(help="The folder of the joined pack.")],
) -> None:
    """Join packs into one."""
    from train.labels.merge import merge_packs

    merge_packs(packs, out)
    typer.echo(out)
