"""`synergy eval`: score a network, or anyone's predictions, by the benchmarks' own definitions."""

from __future__ import annotations

import sys
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
Device = Annotated[str, typer.Option("--device", help="cpu or cuda.")]
Given = Annotated[Path | None, typer.Option("--from-predictions", help="Score this .npz instead of running a network.")]
Saved = Annotated[
    Path | None, typer.Option("--predictions", help="Write names, landmarks68 and pose_deg to this .npz.")
]
Json = Annotated[Path | None, typer.Option("--json", help="Write every figure to this file.")]
Report = Annotated[Path | None, typer.Option("--report", help="Write a page with pictures to this folder.")]
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
    reader = AFLW2000Reader(data)
    scorer = AFLW2000Scorer(reader, reannotated)
    dense = DenseErrors(_model(bfm)) if bfm else None
    _run(reader, scorer, model, from_predictions, predictions, json, report, device, dense=dense)


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

    _run(
        W300LPReader(data, _model(bfm) if bfm else None),
        w300lp.score,
        model,
        from_predictions,
        predictions,
        json,
        report,
        device,
    )


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

    _run(AFLWReader(data, labels), score_aflw, model, from_predictions, predictions, json, report, device, keep=has_68)


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
    from functools import partial

    from eval.protocols.landmarks2d import score_300w
    from synergy.data import FaceSyntheticsReader

    score = partial(score_300w, title="FaceSynthetics")
    _run(FaceSyntheticsReader(data), score, model, from_predictions, predictions, json, report, device)


@app.command("voxels")
def voxels(
    data: Data,
    kind: Annotated[str, typer.Option("--dataset", help="aflw2000-3d, 300w-lp (with --bfm) or jvcr.")] = "aflw2000-3d",
    model: Model = DEFAULT_MODEL,
    bfm: Bfm = None,
    from_predictions: Given = None,
    predictions: Saved = None,
    json: Json = None,
    report: Report = None,
    device: Device = "cpu",
) -> None:
    """JVCR's compact volumes of any predictor's landmarks: overlap, decoding floor, GTE and 3D NME."""
    from functools import partial

    from eval.protocols import voxels as protocol
    from synergy.data import AFLW2000Reader, JVCRReader, W300LPReader

    readers = {
        "aflw2000-3d": lambda: AFLW2000Reader(data),
        "300w-lp": lambda: W300LPReader(data, _model(bfm) if bfm else None),
        "jvcr": lambda: JVCRReader(data),
    }
    if kind not in readers:
        raise UserError(f"unknown data set '{kind}'; choose from {', '.join(readers)}")
    score = partial(protocol.score, device=device)
    _run(readers[kind](), score, model, from_predictions, predictions, json, report, device)


def _model(path: Path) -> MorphableModel:
    from bfm_assets import ModelFileError, MorphableModel, read_bfm68

    try:
        return MorphableModel.load(path)
    except ModelFileError:
        return read_bfm68(path)


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

    command = " ".join(["synergy", *sys.argv[1:]])
    run(reader, Job(scorer, model, given, save_to, json_to, report_to, device, command, **options))
