"""`synergy eval`: score a network, or given predictions, with the definitions of the benchmarks."""

from __future__ import annotations

import math
import shlex
import sys
from collections.abc import Callable
from functools import partial, wraps
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from synergy.cli.console import error_console, say, table_console
from synergy.cli.options import (
    BfmOption,
    EngineName,
    EngineOption,
    MirrorOption,
    NetworkOption,
    Renderer,
    RendererOption,
    ThreadsOption,
    positive_numbers,
)
from synergy.errors import UserError

if TYPE_CHECKING:
    from bfm_assets.schema import MorphableModel
    from eval.evaluation import ScoreFunction
    from synergy.data.reader import FaceReader

app = typer.Typer(help="Score a network, or given predictions, on the data sets of the field.", no_args_is_help=True)

Data = Annotated[Path, typer.Option("--data", help="Folder, tar or zip of the data set.", show_default=False)]

Options = dict[str, Any]
Command = Callable[..., None]


def _common_options(
    model: NetworkOption = "synergynet",
    bfm: BfmOption = None,
    mirror: MirrorOption = False,
    from_predictions: Annotated[
        Path | None, typer.Option(help="Score the predictions of this .npz file instead of running a network.")
    ] = None,
    predictions: Annotated[
        Path | None, typer.Option(help="Write the predictions, in the form of --from-predictions, to this .npz.")
    ] = None,
    json: Annotated[Path | None, typer.Option(help="Write all scores to this file.")] = None,
    report: Annotated[
        Path | None, typer.Option(help="Write an HTML page with charts and pictures to this folder.")
    ] = None,
    renderer: RendererOption = Renderer.BUILTIN,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    engine: EngineOption = EngineName.TORCH,
    rotate: Annotated[
        float,
        typer.Option(
            help="Rotate the photos anticlockwise by this angle in degrees, and expect faces of any orientation."
        ),
    ] = 0.0,
) -> Options:
    """Return the options that all commands have, as arguments of `eval.evaluation.EvaluationConfig`."""
    if not math.isfinite(rotate):
        raise UserError(f"--rotate {rotate}: not an angle in degrees")
    if from_predictions:
        from synergy.weights import DEFAULT

        _refuse_without_network(
            mirror=mirror, rotate=rotate, model=model != DEFAULT, engine=engine is not EngineName.TORCH
        )
    return {
        "model": model,
        "bfm": bfm,
        "mirror": mirror,
        "from_predictions": from_predictions,
        "predictions_file": predictions,
        "json_file": json,
        "report_folder": report,
        "renderer": renderer.value,
        "device": device,
        "engine": engine.value,
        "rotate_deg": rotate,
        "command": shlex.join(["synergy", *sys.argv[1:]]),
    }


def _refuse_without_network(**given: object) -> None:
    """Raise `UserError` for an option of networks that was given next to --from-predictions."""
    for option, is_given in given.items():
        if is_given:
            raise UserError(f"--{option} needs a network, but --from-predictions runs none; leave out one of the two")


def _command(name: str) -> Callable[[Command], Command]:
    """Register a command that has its own options and the common ones.

    The function gets the common options as the dictionary `options`, its first parameter.
    """

    def register(function: Command) -> Command:
        common = signature(_common_options, eval_str=True).parameters
        own = [p for p in signature(function, eval_str=True).parameters.values() if p.name != "options"]

        @wraps(function)
        def command(**arguments: Any) -> None:
            options = _common_options(**{name: arguments.pop(name) for name in common})
            function(**arguments, options=options)

        parameters = [p.replace(kind=Parameter.KEYWORD_ONLY) for p in (*own, *common.values())]
        command.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
        return app.command(name)(command)

    return register


@_command("aflw2000-3d")
def aflw2000_3d(
    options: Options,
    data: Data,
    reannotated: Annotated[
        Path | None,
        typer.Option(help="The reannotated labels; by default a file of them in the data's folder, if there is one."),
    ] = None,
) -> None:
    """AFLW2000-3D: 2D NME on both label sets, head pose, GTE and 3D NME; dense errors with a BFM."""
    from eval.protocols.aflw2000 import AFLW2000Protocol
    from eval.protocols.usable import has_eyes
    from synergy.data import AFLW2000Reader

    if options["bfm"] and options["from_predictions"]:
        raise UserError(
            "--bfm is for dense errors, but a predictions file holds no meshes; leave out --bfm or --from-predictions"
        )
    reader, bfm = AFLW2000Reader(data), _read_bfm(options)
    _evaluate(reader, AFLW2000Protocol(reader, reannotated), options, dense_model=bfm, keep=has_eyes)


@_command("300w-lp")
def w300_lp(options: Options, data: Data) -> None:
    """300W-LP, the common training set: 2D NME by yaw and head pose; GTE and 3D NME with a BFM."""
    from eval.protocols import w300lp
    from eval.protocols.usable import has_eyes
    from synergy.data import W300LPReader

    _evaluate(W300LPReader(data, _read_bfm(options)), w300lp.score, options, keep=has_eyes)


@_command("300w")
def w300(options: Options, data: Data) -> None:
    """300-W and data sets in its .pts format: NME over eyes and box, 68 and inner 51 points."""
    from eval.protocols.landmarks2d import score_300w
    from eval.protocols.usable import has_eyes
    from synergy.data import PtsReader

    _evaluate(PtsReader(data), score_300w, options, keep=has_eyes)


@_command("aflw")
def aflw(
    options: Options,
    data: Data,
    labels: Annotated[
        Path | None, typer.Option(help="The labels, .npz; by default the file with the name of the archive.")
    ] = None,
) -> None:
    """AFLW crops with MERL-RAV's labels: NME of the visible points over the face box, by yaw."""
    from eval.protocols.landmarks2d import score_aflw
    from eval.protocols.usable import has_68
    from synergy.data import AnnotatedCropsReader

    _evaluate(AnnotatedCropsReader(data, labels), score_aflw, options, keep=has_68)


@_command("facesynthetics")
def facesynthetics(options: Options, data: Data) -> None:
    """FaceSynthetics: NME over eyes, box and image, 68 of its 70 points; size and multiply-adds of the network."""
    from eval.protocols.landmarks2d import score_300w
    from eval.protocols.usable import has_eyes
    from synergy.data import FaceSyntheticsReader

    score = partial(score_300w, title="FaceSynthetics")
    _evaluate(FaceSyntheticsReader(data), score, options, keep=has_eyes, with_cost=True)


@_command("voxels")
def voxels(
    options: Options,
    data: Data,
    dataset: Annotated[
        str, typer.Option(help="Kind of the data set: aflw2000-3d, 300w-lp (with --bfm) or jvcr (a .json file).")
    ] = "aflw2000-3d",
) -> None:
    """JVCR's compact volumes of predicted landmarks: soft overlap, quantisation floor, GTE and 3D NME."""
    from eval.protocols import jvcr
    from eval.protocols.usable import has_depth
    from synergy.data import AFLW2000Reader, JVCRReader, W300LPReader

    readers: dict[str, Callable[[Path], FaceReader]] = {
        "aflw2000-3d": AFLW2000Reader,
        "300w-lp": lambda path: W300LPReader(path, _read_bfm(options)),
        "jvcr": JVCRReader,
    }
    if dataset not in readers:
        raise UserError(f"unknown data set '{dataset}'; choose from {', '.join(readers)}")
    _evaluate(readers[dataset](data), partial(jvcr.score, device=options["device"]), options, keep=has_depth)


@app.command()
def card(
    data: Annotated[Path, typer.Option(help="Folder of the validation data (docs/training.md).", show_default=False)],
    model: NetworkOption = "synergynet",
    bfm: BfmOption = None,
    mirror: MirrorOption = False,
    out: Annotated[Path | None, typer.Option(help="Write the tables to this Markdown file too.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Use at most this many files of each data set.")] = None,
    engine: EngineOption = EngineName.AUTO,
) -> None:
    """The tables of MODEL_CARD.md as Markdown: errors by group of faces, and on rotated and small images."""
    from eval.card import make_card, markdown, open_card_data
    from eval.evaluation import progress_bar, report_problems
    from eval.network import NetworkPredictor
    from synergy.outputs import require_writable_file
    from synergy.predictor import FacePredictor
    from synergy.registry import open_network

    if out is not None:
        require_writable_file(out)
    readers = open_card_data(data, limit)
    net = open_network(model, bfm)
    # As in `synergy eval --rotate`: photos that are known to be upright are predicted in one pass.
    upright, rotated = (
        NetworkPredictor(FacePredictor(net, mirror=mirror, engine=engine.value, roll=roll))
        for roll in ("upright", "any")
    )
    text = "\n\n".join(map(markdown, make_card(readers, upright, progress_bar, rotated))) + "\n"
    typer.echo(text)
    if out is not None:
        out.write_text(text, encoding="utf-8")
    report_problems(readers.values(), error_console())


@app.command("detector")
def detector(
    data: Annotated[
        Path | None, typer.Option(help="Photos with .pts files of one face each: folder, tar or zip.")
    ] = None,
    count: Annotated[int, typer.Option(min=1, help="Number of rendered faces, and largest number of photos.")] = 300,
    sides: Annotated[str, typer.Option(help="Longer sides of the network's input in pixels.")] = "320,480,640,960,1280",
    json_file: Annotated[Path | None, typer.Option("--json", help="Write all figures to this file.")] = None,
) -> None:
    """Recall, false detections and time of the face detector by the size of its input.

    Faces are tested in crowds of 1280 x 960 pixels: collages of rendered faces, or of the faces of --data, 10 to 160
    pixels large. The photos of --data are tested alone, too.
    """
    import json

    from eval.detection import crowds, photos, recall_table, rendered_faces, sweep
    from eval.evaluation import json_ready, report_problems
    from synergy.data import PtsReader
    from synergy.outputs import require_writable_file

    if json_file is not None:
        require_writable_file(json_file)
    lengths = positive_numbers("--sides", sides)
    reader = None if data is None else PtsReader(data)
    sets = {"rendered crowds": crowds(rendered_faces(count, seed=0), seed=0)}
    if reader is not None:
        reader.names = reader.names[:: math.ceil(len(reader) / count)]
        pictures = photos(reader)
        if not pictures:
            raise UserError(f"{data}: none of its photos can be used; {reader.problems[0].reason}")
        sets |= {"crowds of photos": crowds(pictures, seed=0), "photos": pictures}
    console = table_console()
    results = {}
    for name, pictures in sets.items():
        with console.status(f"{name}, {len(pictures)} pictures"):
            results[name] = sweep(pictures, lengths)
        console.print(recall_table(name, results[name]))
    if json_file is not None:
        rows = {name: {side: vars(recall) for side, recall in found.items()} for name, found in results.items()}
        json_file.write_text(json.dumps(json_ready(rows), indent=2) + "\n", encoding="utf-8")
    if reader is not None:
        report_problems([reader], console)


@app.command()
def video(
    model: NetworkOption = "synergynet",
    bfm: BfmOption = None,
    photos: Annotated[
        list[Path] | None,
        typer.Option(
            "--photo",
            help="A photo of one person. Give the option at least twice: these people cross in the clip, instead of "
            "the bundled pictures.",
        ),
    ] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures to this file.")] = None,
    engine: EngineOption = EngineName.AUTO,
    threads: ThreadsOption = None,
) -> None:
    """Tracking of videos: jitter, lag, switched ids and time, on clips made from a photo and rendered faces."""
    import json

    from rich.table import Table

    from eval.evaluation import progress_bar
    from eval.video.benchmark import compare
    from synergy.detect import CenterFace
    from synergy.images import read_image
    from synergy.outputs import require_writable_file
    from synergy.predictor import FacePredictor
    from synergy.registry import open_network

    if photos is not None and len(photos) < 2:
        raise UserError("--photo: at least two people are needed to cross")
    if json_file is not None:
        require_writable_file(json_file)
    images = [read_image(str(path)) for path in photos or []]
    detector = CenterFace(threads=threads)
    predictor = FacePredictor(open_network(model, bfm), detector, engine=engine.value, threads=threads)
    figures = compare(predictor, images, progress_bar("Clips"))
    table = Table("figure", "unit", "single frames", "tracking")
    for figure in figures:
        table.add_row(figure.name, figure.unit, f"{figure.before:.3g}", f"{figure.after:.3g}")
    table_console().print(table)
    if json_file is not None:
        json_file.write_text(json.dumps([figure._asdict() for figure in figures], indent=2) + "\n")


def _read_bfm(options: Options) -> MorphableModel | None:
    """Read the Basel Face Model of --bfm, to which the parameters in files of 3DDFA's form belong.

    A model with other modes may be that of the network, but says nothing about these parameters. It is left out here,
    and a line says so.
    """
    from bfm_assets import read_model
    from bfm_assets.detect import has_3ddfa_modes

    if options["bfm"] is None:
        return None
    model = read_model(options["bfm"])
    if has_3ddfa_modes(model):
        return model
    text = f"'{model.name}' has other modes than 3DDFA's, so nothing is compared with the parameters of the files"
    say(error_console(), text, "note:", "yellow")
    return None


def _evaluate(reader: FaceReader, score: ScoreFunction, options: Options, **more_options: Any) -> None:
    from eval.evaluation import EvaluationConfig, evaluate

    evaluate(reader, EvaluationConfig(score, **options, **more_options), table_console())
