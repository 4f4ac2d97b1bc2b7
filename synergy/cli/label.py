"""`synergy label`: make, show, merge, export and measure training packs, and label photos automatically."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from synergy.cli.console import error_console, say
from synergy.cli.options import BfmOption, NetworkOption, RedoOption, TimeLimitOption
from synergy.errors import TimeLimitError, UserError
from synergy.extras import needs_extra
from synergy.outputs import require_writable_file
from synergy.shards import ALL, Shard

app = typer.Typer(no_args_is_help=True, help="Fit 3DMM labels to landmark annotations, and work with the packs.")
quality = typer.Typer(no_args_is_help=True, help="Print the quality tables of docs/labels.md.")
app.add_typer(quality, name="quality")

OutOption = Annotated[Path, typer.Option(help="Directory of the pack. An interrupted run continues.")]
MorphableModelOption = Annotated[Path | None, typer.Option(help="Morphable model; by default the bundled open face.")]
FittedModelOption = Annotated[Path, typer.Option(help="Morphable model whose faces were fitted.")]


@contextmanager
def _progress(what: str) -> Iterator[tuple[Callable[[int, int], None], Callable[..., None]]]:
    """Show a progress bar on stderr.

    Yields:
        A function that takes the numbers of done and of all items, and one that prints a line above the bar.

    Raises:
        UserError: a package of the extra "train" is missing.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    console = error_console()
    with Progress(what, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=console) as bar:
        task = bar.add_task("", total=None)
        with needs_extra("train", "this command"):
            yield lambda done, total: bar.update(task, completed=done, total=total), partial(say, console)


def _parse_fractions(texts: list[str] | None, option: str, form: str) -> dict[str, float]:
    """Return the fractions by name of the values "NAME=FRACTION" of an option; `form` describes them in errors."""
    fractions = {}
    for text in texts or ():
        name, _, number = text.rpartition("=")
        try:
            fractions[name] = float(number)
        except ValueError:
            raise UserError(f"{option} {text}: expected {form}") from None
    return fractions


@app.command()
def build(
    dataset: Annotated[Path, typer.Argument(help="Folder, tar or zip with annotations (.pts, .mat, AFLW crops).")],
    out: OutOption,
    morphable_model: MorphableModelOption = None,
    teacher: Annotated[
        list[Path] | None,
        typer.Option(help="Prediction file (.npz); repeat for more. The first one with 3D landmarks is the base."),
    ] = None,
    teacher_weights: Annotated[Path | None, typer.Option(help="teacher_weights.json of another pack.")] = None,
    teacher_fraction: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=FRACTION",
            help="Fixed fraction (0 to 1) of the weight of a teacher, such as opentrack=0.3: of the rotation for a "
            "teacher that predicts only the pose, of everything else for others. All teachers divide the rest by their "
            "estimated weights. Can be repeated.",
        ),
    ] = None,
    calibration: Annotated[Path | None, typer.Option(help="calibration.npz of another pack.")] = None,
    automatic: Annotated[
        bool, typer.Option("--automatic", help="Keep annotations that look like an automatic fit (frontal CFP).")
    ] = False,
    blendshapes: Annotated[Path | None, typer.Option(help="Blendshape scores (.npz), kept in the pack.")] = None,
    profile: Annotated[bool, typer.Option("--profile", help="Add profiled images, up to 90 degrees of yaw.")] = False,
    step: Annotated[float | None, typer.Option(help="Degrees between profiled images; 15 by default.")] = None,
    held_out: Annotated[
        list[Path] | None, typer.Option(help="Data set or pack whose images must not be in the new pack.")
    ] = None,
    split: Annotated[str, typer.Option(help="train or val.")] = "train",
    val_identities_above: Annotated[
        int | None, typer.Option(help="People with larger numbers are for validation (CFP: 450).")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the data set; its file name by default.")] = None,
    limit: Annotated[int | None, typer.Option(help="Use at most this many faces, the first ones.")] = None,
    shard: Annotated[
        str | None,
        typer.Option(
            metavar="I/N",
            help="Only one of N parts of the faces, by their names; synergy label merge joins the packs. Give "
            "--calibration and --teacher-weights, so that all parts use the same.",
        ),
    ] = None,
) -> None:
    """Label a data set and write a training pack: images, landmarks, parameters, manifest."""
    if split not in ("train", "val"):
        raise UserError(f"--split {split}: choose train or val")
    if step is not None and not profile:
        raise UserError("--step is the step between profiled images; give --profile too")
    if teacher_weights is not None and not teacher:
        raise UserError("--teacher-weights are the weights of teachers; give --teacher too")
    with _progress("Labelling") as (update, say):
        from train.annotate.pipeline import LabelOptions, build_pack

        options = LabelOptions(
            model=morphable_model,
            teachers=tuple(teacher or ()),
            teacher_weights=teacher_weights,
            fixed_fractions=_parse_fractions(teacher_fraction, "--teacher-fraction", "NAME=FRACTION"),
            calibration=calibration,
            automatic=automatic,
            blendshapes=blendshapes,
            profile_step_deg=(15.0 if step is None else step) if profile else None,
            held_out=tuple(held_out or ()),
            split=split,
            val_identities_above=val_identities_above,
            source_name=name,
            limit=limit,
            shard=ALL if shard is None else Shard.parse(shard),
        )
        path = build_pack(dataset, out, options, update, lambda line: say(line, "warning:", "yellow"))
        say(f"written: {path}")


@app.command()
def render(
    out: OutOption,
    faces: Annotated[int, typer.Option(min=1, help="Number of faces.")] = 5000,
    morphable_model: MorphableModelOption = None,
    seed: Annotated[int, typer.Option(help="Seed of the random faces.")] = 0,
) -> None:
    """Render random faces with exact labels as a training pack, without photos."""
    with _progress("Rendering") as (update, say):
        from bfm_assets import open_face, read_model
        from train.packs.rendered import render_pack

        model = open_face() if morphable_model is None else read_model(morphable_model)
        say(f"written: {render_pack(out, model, faces, seed, update)}")


@app.command()
def find(
    photos: Annotated[Path, typer.Argument(help="Folder, tar or zip of photos.")],
    out: Annotated[Path, typer.Option(help="The .tar of crops to write; an .npz is written next to it.")],
    model: NetworkOption = "synergynet",
    bfm: BfmOption = None,
) -> None:
    """Find the faces of photos without annotations, and write them as crops that label build reads."""
    require_writable_file(out)
    with _progress("Searching") as (update, say):
        from synergy.predictor import FacePredictor
        from synergy.registry import open_network
        from train.annotate.photos import find_faces

        predictor = FacePredictor(open_network(model, bfm))
        count = find_faces(photos, out, predictor, update, lambda line: say(line, "warning:", "yellow"))
        say(f"written: {out} with {count} faces, and {out.with_suffix('.npz')}")


@app.command()
def predict(
    source: Annotated[Path, typer.Argument(help="A pack of photos, or a data set with boxes or annotations.")],
    out: Annotated[Path, typer.Option(help="The prediction file (.npz) to write.")] = Path("predictions.npz"),
    model: NetworkOption = "synergynet",
    bfm: BfmOption = None,
    keep: Annotated[
        float, typer.Option(min=0, max=1, help="Keep only this fraction, the predictions with the least uncertainty.")
    ] = 1.0,
    name: Annotated[
        str, typer.Option(help="Name of the network as a teacher. Teachers of one label need different names.")
    ] = "network",
) -> None:
    """Predict photos with a network, for --teacher of the next round of labels."""
    if out.suffix != ".npz":
        raise UserError(f"--out {out}: predictions are written as .npz")
    require_writable_file(out)
    with _progress("Predicting") as (update, say):
        from synergy.registry import open_network
        from train.annotate.predictions import predict_photos

        kept, count = predict_photos(
            source, out, open_network(model, bfm), update, keep, name, lambda line: say(line, "warning:", "yellow")
        )
        say(f"written: {out} with {kept} of {count} predictions")


@app.command()
def auto(
    photos: Annotated[Path, typer.Argument(help="Photos (folder, tar or zip), or a data set that label build reads.")],
    labelled: Annotated[Path, typer.Option(help="Pack with training and validation samples.", show_default=False)],
    out: Annotated[Path, typer.Option(help="Folder of the run. The same command continues it.", show_default=False)],
    rounds: Annotated[int, typer.Option(min=1, help="Number of rounds.")] = 3,
    keep: Annotated[float, typer.Option(help="Fraction of the predictions to keep: the most certain.")] = 0.8,
    training: Annotated[
        str | None, typer.Option("--train", help="Options of synergy train fit for every round.", show_default=False)
    ] = None,
    network: Annotated[str, typer.Option(help="Name of the landmark network that --train trains, such as pfld.")] = "",
    model: Annotated[Path | None, typer.Option(help="Morphable model of the pack; by default the open face.")] = None,
    redo: RedoOption = False,
    time_limit: TimeLimitOption = None,
) -> None:
    """Label photos in rounds: predict, keep the certain ones, fit labels, train again; with a curve of the errors."""
    from synergy.cli.train import execute

    with needs_extra("train", "this command"):
        from train.auto_label import TRAINING, AutoOptions, label_automatically

    options = AutoOptions(photos, labelled, rounds, keep, training or TRAINING, network, model)
    if not label_automatically(options, out, execute, typer.echo, redo, time_limit):
        raise typer.Exit(TimeLimitError.exit_status)


@app.command()
def show(
    pack: Annotated[Path, typer.Argument(help="A pack.")],
    out: Annotated[Path, typer.Option(help="Picture to write.")] = Path("labels.png"),
    worst: Annotated[bool, typer.Option("--worst", help="Draw the labels with the smallest weights instead.")] = False,
) -> None:
    """Draw a contact sheet: label, annotations, outline of the mesh and axes of the head."""
    from train.packs.contact_sheet import show_pack

    typer.echo(show_pack(pack, out, worst=worst))


@app.command()
def merge(
    packs: Annotated[list[Path], typer.Argument(help="Packs of one morphable model.")],
    out: Annotated[Path, typer.Option(help="Directory of the joined pack.")],
) -> None:
    """Join packs into one."""
    from train.packs.merge import merge_packs

    merge_packs(packs, out)
    typer.echo(out)


@app.command()
def split(
    pack: Annotated[Path, typer.Argument(help="A pack.")],
    out: Annotated[Path, typer.Option(help="Folder of the parts.")],
    mebibytes: Annotated[float, typer.Option(min=1, help="Largest size of a part.")] = 30,
    quality: Annotated[
        int | None, typer.Option(min=1, max=100, help="JPEG quality of the images; unchanged by default.")
    ] = None,
    fraction: Annotated[
        list[str] | None, typer.Option(help="SOURCE=FRACTION: keep only a fraction of a source; repeatable.")
    ] = None,
) -> None:
    """Split a pack into parts that `synergy label merge` joins again, to carry it to another machine."""
    from train.packs.split import split_pack

    fractions = _parse_fractions(fraction, "--fraction", "SOURCE=FRACTION")
    for folder in split_pack(pack, out, mebibytes, quality, fractions):
        typer.echo(folder)


@app.command()
def export(
    pack: Annotated[Path, typer.Argument(help="A pack whose morphable model is a BFM.")],
    out: Annotated[Path, typer.Option(help="Directory to write.")],
) -> None:
    """Export a pack as .jpg and .mat files in the layout of 300W-LP."""
    from train.packs.layout_300wlp import export_300w_lp

    with _progress("Exporting") as (update, say):
        export_300w_lp(pack, out, update)
        say(f"written: {out}")


@quality.command()
def agreement(
    data: Annotated[Path, typer.Argument(help="Annotated crops.")],
    teacher: Annotated[list[Path], typer.Option(help="Prediction file (.npz); repeat for more.")],
    morphable_model: FittedModelOption,
    pack: Annotated[Path, typer.Option(help="Training pack of the same source, for its calibration and weights.")],
    judge: Annotated[
        str | None, typer.Option(help="Teacher that is left out and judges rotations, such as opentrack.")
    ] = None,
    identities_above: Annotated[int | None, typer.Option(help="Only people with larger numbers.")] = None,
    rotation_factor: Annotated[
        float, typer.Option(help="Factor of the standard deviation of predicted rotations.")
    ] = 0.2,
    noise_factor: Annotated[float, typer.Option(help="Factor of the variance of annotations.")] = 0.2,
) -> None:
    """Compare labels from a part of the annotated points with the other part."""
    from train.annotate.fusion import FusionFactors
    from train.annotate.quality import QualityInputs, measure_agreement

    factors = FusionFactors(rotation_factor, noise_factor)
    _print_table(
        measure_agreement(QualityInputs(data, teacher, morphable_model, pack, judge, identities_above, factors))
    )


@quality.command("aflw2000-3d")
def aflw2000(
    data: Annotated[Path, typer.Argument(help="Folder of AFLW2000-3D.")],
    peer: Annotated[Path, typer.Option(help="A network's landmarks68 and the reannotated68 (.npz).")],
    morphable_model: FittedModelOption,
    calibration: Annotated[Path, typer.Option(help="calibration.npz of the AFLW training pack.")],
) -> None:
    """Compare labels from AFLW's 21 points with AFLW2000-3D. It is a test set: choose nothing by this table."""
    from train.annotate.quality import measure_aflw2000

    _print_table(measure_aflw2000(data, peer, morphable_model, calibration))


@quality.command()
def blendshapes(
    pack: Annotated[Path, typer.Argument(help="A pack with blendshape scores, or of rendered faces.")],
    model: NetworkOption = "synergynet",
    bfm: BfmOption = None,
    best: Annotated[
        int, typer.Option(min=1, help="Number of shapes in the mean correlation, those whose scores vary most.")
    ] = 20,
) -> None:
    """Compare a network's blendshape weights with scores, or with the weights of rendered faces."""
    with _progress("Predicting") as (update, _):
        from synergy.predictor import FacePredictor
        from synergy.registry import open_network
        from train.blendshape_quality import measure_blendshapes

        shapes = measure_blendshapes(pack, FacePredictor(open_network(model, bfm)), update)
    typer.echo("| shape | mean | standard deviation | correlation | mean absolute error | on neutral faces |")
    typer.echo("|---|---|---|---|---|---|")
    for shape in shapes:
        figures = (shape.true_mean, shape.true_std, shape.correlation, shape.error, shape.neutral)
        typer.echo(f"| {shape.name} | " + " | ".join(f"{figure:.2f}" for figure in figures) + " |")
    known = [shape.correlation for shape in shapes[:best] if not math.isnan(shape.correlation)]
    if known:
        typer.echo(f"mean correlation of the first {best}, {len(known)} of them known: {sum(known) / len(known):.3f}")


def _print_table(table: dict[str, str]) -> None:
    for name, line in table.items():
        typer.echo(f"{name:28} {line}")
