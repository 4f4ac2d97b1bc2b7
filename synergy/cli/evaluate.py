"""`synergy eval`: score a network, or anyone's predictions, by the benchmarks' own definitions."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from functools import partial, wraps
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from synergy.cli.options import BfmOption, NetworkOption, Renderer, RendererOption
from synergy.errors import UserError

if TYPE_CHECKING:
    from bfm_assets.schema import MorphableModel
    from eval.command import Scorer
    from synergy.data.reader import FaceReader

app = typer.Typer(help="Score a network, or anyone's predictions, on the field's data sets.", no_args_is_help=True)

Data = Annotated[Path, typer.Option("--data", help="Folder, tar or zip of the data set.", show_default=False)]

Job = dict[str, Any]
Command = Callable[..., None]


def _shared(
    model: NetworkOption = "synergynet",
    bfm: BfmOption = None,
    mirror: Annotated[bool, typer.Option("--mirror", help="Mean with the mirrored crop's prediction.")] = False,
    from_predictions: Annotated[Path | None, typer.Option(help="Score this .npz instead of running a network.")] = None,
    predictions: Annotated[Path | None, typer.Option(help="Write names, landmarks and poses to this .npz.")] = None,
    json: Annotated[Path | None, typer.Option(help="Write every figure to this file.")] = None,
    report: Annotated[Path | None, typer.Option(help="Write a page with pictures to this folder.")] = None,
    renderer: RendererOption = Renderer.BUILTIN,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
) -> dict[str, Any]:
    """Every command's options, as arguments of `eval.command.Job`."""
    if mirror and from_predictions:
        raise UserError("--mirror is for a network, --from-predictions runs none; leave one of the two out")
    return {
        "model": model,
        "bfm": bfm,
        "mirror": mirror,
        "given": from_predictions,
        "save_to": predictions,
        "json_to": json,
        "report_to": report,
        "renderer": renderer.value,
        "device": device,
        "command": shlex.join(["synergy", *sys.argv[1:]]),
    }


def _command(name: str) -> Callable[[Command], Command]:
    """Register a command: its own options and `_shared`'s, which it gets as its first parameter `job`."""

    def register(function: Command) -> Command:
        shared = signature(_shared, eval_str=True).parameters
        own = [p for p in signature(function, eval_str=True).parameters.values() if p.name != "job"]

        @wraps(function)
        def command(**options: Any) -> None:
            job = _shared(**{name: options.pop(name) for name in shared})
            function(**options, job=job)

        parameters = [p.replace(kind=Parameter.KEYWORD_ONLY) for p in (*own, *shared.values())]
        command.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
        return app.command(name)(command)

    return register


@_command("aflw2000-3d")
def aflw2000_3d(
    job: Job,
    data: Data,
    reannotated: Annotated[
        Path | None, typer.Option(help="The second labels, .npy; found by itself when it lies beside the images.")
    ] = None,
) -> None:
    """AFLW2000-3D: 2D NME on both label sets, head pose, GTE, 3D NME; dense errors with a BFM."""
    from eval.command import AFLW2000Scorer
    from eval.dense import DenseErrors
    from synergy.data import AFLW2000Reader

    if job["bfm"] and job["given"]:
        raise UserError("--bfm scores dense meshes, which a predictions file does not hold; leave one of the two out")
    reader, basel = AFLW2000Reader(data), _basel(job)
    scorer, dense = AFLW2000Scorer(reader, reannotated), DenseErrors(basel) if basel else None
    _run(reader, scorer, job, dense=dense)


@_command("300w-lp")
def w300_lp(job: Job, data: Data) -> None:
    """300W-LP, the training set of the field: 2D NME by yaw, head pose; GTE and 3D NME with a BFM."""
    from eval.protocols import w300lp
    from synergy.data import W300LPReader

    _run(W300LPReader(data, _basel(job)), w300lp.score, job)


@_command("300w")
def w300(job: Job, data: Data) -> None:
    """300-W and sets in its .pts format: NME over the eyes and over the box, 68 and inner 51 points."""
    from eval.protocols.landmarks2d import score_300w
    from synergy.data import PtsReader

    _run(PtsReader(data), score_300w, job)


@_command("aflw")
def aflw(
    job: Job,
    data: Data,
    labels: Annotated[
        Path | None, typer.Option(help="The labels, .npz; by default the one beside the archive.")
    ] = None,
) -> None:
    """AFLW crops with MERL-RAV's labels: NME of the visible points over the face box, by yaw."""
    from eval.protocols.landmarks2d import has_68, score_aflw
    from synergy.data import AnnotatedCropsReader

    reader = AnnotatedCropsReader(data, labels)
    _run(reader, score_aflw, job, keep=has_68)


@_command("facesynthetics")
def facesynthetics(job: Job, data: Data) -> None:
    """FaceSynthetics: NME over the eyes and over the box, 68 of its 70 points."""
    from eval.protocols.landmarks2d import score_300w
    from synergy.data import FaceSyntheticsReader

    score = partial(score_300w, title="FaceSynthetics")
    _run(FaceSyntheticsReader(data), score, job)


@_command("voxels")
def voxels(
    job: Job,
    data: Data,
    dataset: Annotated[str, typer.Option(help="aflw2000-3d, 300w-lp (with --bfm) or jvcr (a .json).")] = "aflw2000-3d",
) -> None:
    """JVCR's compact volumes of any predictor's landmarks: overlap, decoding floor, GTE and 3D NME."""
    from eval.protocols import voxels as protocol
    from synergy.data import AFLW2000Reader, JVCRReader, W300LPReader

    readers: dict[str, Callable[[Path], FaceReader]] = {
        "aflw2000-3d": AFLW2000Reader,
        "300w-lp": partial(W300LPReader, model=_basel(job)),
        "jvcr": JVCRReader,
    }
    if dataset not in readers:
        raise UserError(f"unknown data set '{dataset}'; choose from {', '.join(readers)}")
    score = partial(protocol.score, device=job["device"])
    _run(readers[dataset](data), score, job)


def _basel(job: Job) -> MorphableModel | None:
    """Read the job's Basel Face Model, if it has one."""
    from bfm_assets import read_model

    return None if job["bfm"] is None else read_model(job["bfm"])


def _run(reader: FaceReader, scorer: Scorer, job: Job, **options: Any) -> None:
    from eval.command import Job, run

    run(reader, Job(scorer, **job, **options))
