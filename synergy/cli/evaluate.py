"""`synergy eval`: score a network, or anyone's predictions, by the benchmarks' own definitions."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from synergy.errors import UserError

if TYPE_CHECKING:
    from bfm_assets.schema import MorphableModel
    from eval.command import Scorer
    from synergy.data.reader import FaceReader

app = typer.Typer(help="Score a network, or anyone's predictions, on the field's data sets.", no_args_is_help=True)

Data = Annotated[Path, typer.Option("--data", help="Folder, tar or zip of the data set.", show_default=False)]
Model = Annotated[str, typer.Option("--model", help="Bundled weights by name, or a .safetensors file.")]
Given = Annotated[Path | None, typer.Option("--from-predictions", help="Score this .npz instead of running a network.")]
Saved = Annotated[
    Path | None, typer.Option("--predictions", help="Write names, landmarks68 and pose_deg to this .npz.")
]
Json = Annotated[Path | None, typer.Option("--json", help="Write every figure to this file.")]
Report = Annotated[Path | None, typer.Option("--report", help="Write a page with pictures to this folder.")]
Device = Annotated[str, typer.Option("--device", help="cpu or cuda.")]
Bfm = Annotated[Path | None, typer.Option("--bfm", help="A Basel Face Model, in any form that synergy assets reads.")]

DEFAULT_MODEL = "synergynet"


@app.command("aflw2000-3d")
def aflw2000_3d(
    data: Data,
    model: Model = DEFAULT_MODEL,
    reannotated: Annotated[
        Path | None, typer.Option(help="The second labels, .npy; found by itself when it lies beside the images.")
    ] = None,
    bfm: Bfm = None,
    from_predictions: Given = None,
    predictions: Saved = None,
    json: Json = None,
    report: Report = None,
    device: Device = "cpu",
) -> None:
    """AFLW2000-3D: 2D NME on both label sets, head pose, GTE, 3D NME; dense errors with a BFM."""
    from eval.command import AFLW2000Scorer
    from eval.dense import DenseErrors
    from synergy.data import AFLW2000Reader

    if bfm and from_predictions:
        raise UserError("--bfm scores dense meshes, which a predictions file does not hold; leave one of the two out")
    reader, basel = AFLW2000Reader(data), _model(bfm)
    scorer, dense = AFLW2000Scorer(reader, reannotated), DenseErrors(basel) if basel else None
    _run(reader, scorer, model, from_predictions, predictions, json, report, device, bfm=basel, dense=dense)


@app.command("300w-lp")
def w300_lp(
    data: Data,
    model: Model = DEFAULT_MODEL,
    bfm: Bfm = None,
    from_predictions: Given = None,
    predictions: Saved = None,
    json: Json = None,
    report: Report = None,
    device: Device = "cpu",
) -> None:
    """300W-LP, the training set of the field: 2D NME by yaw, head pose; GTE and 3D NME with a BFM."""
    from eval.protocols import w300lp
    from synergy.data import W300LPReader

    basel = _model(bfm)
    reader = W300LPReader(data, basel)
    _run(reader, w300lp.score, model, from_predictions, predictions, json, report, device, bfm=basel)


@app.command("300w")
def w300(
    data: Data,
    model: Model = DEFAULT_MODEL,
    from_predictions: Given = None,
    predictions: Saved = None,
    json: Json = None,
    report: Report = None,
    device: Device = "cpu",
) -> None:
    """300-W and sets in its .pts format: NME over the eyes and over the box, 68 and inner 51 points."""
    from eval.protocols.landmarks2d import score_300w
    from synergy.data import PtsReader

    _run(PtsReader(data), score_300w, model, from_predictions, predictions, json, report, device)


@app.command("aflw")
def aflw(
    data: Data,
    labels: Annotated[
        Path | None, typer.Option(help="The labels, .npz; by default the one beside the archive.")
    ] = None,
    model: Model = DEFAULT_MODEL,
    from_predictions: Given = None,
    predictions: Saved = None,
    json: Json = None,
    report: Report = None,
    device: Device = "cpu",
) -> None:
    """AFLW crops with MERL-RAV's labels: NME of the visible points over the face box, by yaw."""
    from eval.protocols.landmarks2d import has_68, score_aflw
    from synergy.data import AFLWReader

    reader = AFLWReader(data, labels)
    _run(reader, score_aflw, model, from_predictions, predictions, json, report, device, keep=has_68)


@app.command("facesynthetics")
def facesynthetics(
    data: Data,
    model: Model = DEFAULT_MODEL,
    from_predictions: Given = None,
    predictions: Saved = None,
    json: Json = None,
    report: Report = None,
    device: Device = "cpu",
) -> None:
    """FaceSynthetics: NME over the eyes and over the box, 68 of its 70 points."""
    from eval.protocols.landmarks2d import score_300w
    from synergy.data import FaceSyntheticsReader

    score = partial(score_300w, title="FaceSynthetics")
    _run(FaceSyntheticsReader(data), score, model, from_predictions, predictions, json, report, device)


@app.command("voxels")
def voxels(
    data: Data,
    dataset: Annotated[str, typer.Option(help="aflw2000-3d, 300w-lp (with --bfm) or jvcr (a .json).")] = "aflw2000-3d",
    model: Model = DEFAULT_MODEL,
    bfm: Bfm = None,
    from_predictions: Given = None,
    predictions: Saved = None,
    json: Json = None,
    report: Report = None,
    device: Device = "cpu",
) -> None:
    """JVCR's compact volumes of any predictor's landmarks: overlap, decoding floor, GTE and 3D NME."""
    from eval.protocols import voxels as protocol
    from synergy.data import AFLW2000Reader, JVCRReader, W300LPReader

    basel = _model(bfm)
    readers: dict[str, Callable[[Path], FaceReader]] = {
        "aflw2000-3d": AFLW2000Reader,
        "300w-lp": partial(W300LPReader, model=basel),
        "jvcr": JVCRReader,
    }
    if dataset not in readers:
        raise UserError(f"unknown data set '{dataset}'; choose from {', '.join(readers)}")
    score = partial(protocol.score, device=device)
    _run(readers[dataset](data), score, model, from_predictions, predictions, json, report, device, bfm=basel)


def _model(path: Path | None) -> MorphableModel | None:
    from bfm_assets import read_model

    return None if path is None else read_model(path)


def _run(
    reader: FaceReader,
    scorer: Scorer,
    model: str,
    given: Path | None,
    save_to: Path | None,
    json_to: Path | None,
    report_to: Path | None,
    device: str,
    **options: Any,
) -> None:
    from eval.command import Job, run

    command = shlex.join(["synergy", *sys.argv[1:]])
    run(reader, Job(scorer, model, given, save_to, json_to, report_to, device, command, **options))
