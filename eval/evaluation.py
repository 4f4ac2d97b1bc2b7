"""One evaluation: read a data set, predict, score, print and write the results. This is what `synergy eval` runs."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich import box
from rich import progress as rich_progress
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

import synergy
from bfm_assets.schema import MorphableModel
from eval.cost import add_cost
from eval.dense import add_dense_scores, require_same_mesh
from eval.inference import PredictedDataset, Progress, match_predictions, predict_dataset
from eval.network import NetworkPredictor, RotatedPredictor
from eval.predictions import Predictions
from eval.result import ProtocolResult, Table
from eval.uncertainty import add_uncertainty
from synergy.camera import preferred_projection
from synergy.data.reader import FaceReader
from synergy.data.sample import FaceSample
from synergy.device import require_device
from synergy.errors import UserError
from synergy.extras import needs_extra
from synergy.models import SynergyNet
from synergy.outputs import require_writable_file, require_writable_folder
from synergy.predictor import FacePredictor
from synergy.raster import rasterizer
from synergy.registry import open_network

ScoreFunction = Callable[[Sequence[FaceSample], Predictions], ProtocolResult]
MAX_LISTED = 20


@dataclass(frozen=True)
class EvaluationConfig:
    """What to evaluate and where to write the results.

    Attributes:
        score: the protocol.
        model: network to run (`synergy.registry.open_network`), unless `from_predictions` is given.
        bfm: Basel Face Model of networks that need one.
        mirror: predict each crop and its mirror image and take the mean.
        from_predictions: `.npz` file of predictions to score instead of running a network.
        predictions_file: the predictions are written to this `.npz` file.
        json_file: the scores are written to this file.
        report_folder: the report page is written to this folder.
        renderer: draws the meshes of the report (`synergy.raster.rasterizer`).
        device: "cpu" or "cuda".
        engine: what runs the network (`synergy.engines.ENGINES`).
        rotate_deg: rotate the photos anticlockwise by this angle, and the predictions back. Faces of any orientation
            are then predicted (`FacePredictor`'s roll "any").
        command: the command line, for the record.
        dense_model: Basel Face Model of the true meshes, to compute dense errors, or None.
        keep: see `eval.inference.predict_dataset`.
        with_cost: add the size of the network to the first table.
    """

    score: ScoreFunction
    model: str
    bfm: Path | None = None
    mirror: bool = False
    from_predictions: Path | None = None
    predictions_file: Path | None = None
    json_file: Path | None = None
    report_folder: Path | None = None
    renderer: str = "builtin"
    device: str = "cpu"
    engine: str = "torch"
    rotate_deg: float = 0.0
    command: str = ""
    dense_model: MorphableModel | None = None
    keep: Callable[[FaceSample], bool] = lambda _: True
    with_cost: bool = False


def evaluate(reader: FaceReader, config: EvaluationConfig, console: Console | None = None) -> ProtocolResult:
    """Predict or read predictions, score them, print the tables and write the files.

    Args:
        reader: the data set.
        config: what to do.
        console: for the tables; standard output by default.

    Returns:
        The protocol's result. Its scores also hold the command, the model and the data.

    Raises:
        UserError: the evaluation cannot be done, or samples had to be skipped. In the second case everything has been
            written.
    """
    console = console or Console(highlight=False)
    require_device(config.device)
    rasterize = rasterizer(config.renderer)
    for path in (config.predictions_file, config.json_file):
        if path is not None:
            require_writable_file(path)
    if config.report_folder is not None:
        require_writable_folder(config.report_folder)
        with needs_extra("eval", "--report"):
            import jinja2  # noqa: F401
            import matplotlib as mpl  # noqa: F401
    predictor = None
    if config.from_predictions:
        given = Predictions.load(config.from_predictions)
        dataset = match_predictions(reader, given, progress_bar("Reading labels"), config.keep)
    else:
        predictor = open_predictor(config)
        rotated = RotatedPredictor(predictor, config.rotate_deg) if config.rotate_deg else predictor
        dataset = predict_dataset(reader, rotated, progress_bar("Predicting"), config.keep)
    predictions = dataset.predictions
    result = config.score(dataset.samples, predictions)
    if dataset.dense_errors is not None and config.dense_model is not None:
        result = add_dense_scores(result, dataset.dense_errors, config.dense_model, predictions.model_id)
    result = add_uncertainty(result, predictions)
    if config.with_cost and predictor is not None:
        result = add_cost(result, predictor.predictor.net)
    result = replace(result, scores=_with_run_details(result, reader, dataset, config))
    for table in result.tables:
        console.print(_rich_table(table))
        if table.note:
            console.print(table.note + "\n", style="dim", markup=False, soft_wrap=True)
    if config.predictions_file:
        predictions.save(config.predictions_file)
    if config.json_file:
        config.json_file.write_text(json.dumps(json_ready(result.scores), indent=2) + "\n")
    if config.report_folder:
        from eval.report.gallery import MeshOverlay
        from eval.report.page import write_report

        overlay = None
        volumes_of = None
        if predictor is not None and not config.rotate_deg:  # the report shows the photos upright
            overlay = MeshOverlay(predictor.face, rasterize) if predictor.has_mesh else None
            volumes_of = predictor.volumes
        page = write_report(result, reader, dataset.rows, config.report_folder, overlay, volumes_of)
        console.print(f"report: {page}", markup=False, soft_wrap=True)
    report_problems([reader], console)
    return result


def open_predictor(config: EvaluationConfig) -> NetworkPredictor:
    """Open the network of an evaluation.

    Dense errors are left out for rotated photos, and for a network that has only the 68 landmark vertices, when the
    Basel Face Model has no more either.

    Raises:
        UserError: the device or the network cannot be used, or its mesh is not that of the Basel Face Model.
    """
    net = open_network(config.model, config.bfm)
    if isinstance(net, SynergyNet):  # other networks predict affine poses, which pytorch3d's cameras cannot represent
        net.projection = preferred_projection()
    # The scores of upright photos are those of one pass on the crops of the true boxes.
    roll = "any" if config.rotate_deg else "upright"
    predictor = FacePredictor(net, device=config.device, mirror=config.mirror, roll=roll, engine=config.engine)
    if config.rotate_deg or config.dense_model is None:
        return NetworkPredictor(predictor)
    if not (config.dense_model.is_dense or net.morphable_model.is_dense):
        return NetworkPredictor(predictor)
    require_same_mesh(config.dense_model, net.morphable_model)
    return NetworkPredictor(predictor, config.dense_model)


def _with_run_details(
    result: ProtocolResult, reader: FaceReader, dataset: PredictedDataset, config: EvaluationConfig
) -> dict[str, Any]:
    problems = reader.problems
    return {
        "protocol": result.title,
        "model_id": dataset.predictions.model_id,
        **result.scores,
        "counts": {**result.scores["counts"], "skipped": len(problems)},
        "skipped": [{"name": problem.name, "reason": problem.reason} for problem in problems[:MAX_LISTED]],
        "data": reader.tree.path.name,
        "data_hash": reader.digest(),
        "seconds": round(dataset.seconds, 3),
        "command": config.command,
        "version": synergy.__version__,
    }


def progress_bar(description: str) -> Progress:
    """Return a function that shows a progress bar with remaining time while its argument is iterated over."""

    def track(rows: Iterable[int]) -> Iterable[int]:
        columns = (
            rich_progress.TextColumn("{task.description}"),
            rich_progress.BarColumn(),
            rich_progress.MofNCompleteColumn(),
            rich_progress.TimeElapsedColumn(),
            rich_progress.TextColumn("ETA"),
            rich_progress.TimeRemainingColumn(),
        )
        with rich_progress.Progress(*columns, console=Console(stderr=True), transient=True) as progress:
            yield from progress.track(list(rows), description=description)

    return track


def _rich_table(table: Table) -> RichTable:
    rich = RichTable(
        title=Text(table.title),
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    for i, column in enumerate(table.columns):
        numeric = i > 0 and all(row[i][:1].isdigit() or row[i] == "-" for row in table.rows)
        rich.add_column(column, justify="right" if numeric else "left", no_wrap=True)
    for i, row in enumerate(table.rows):
        rich.add_row(*map(Text, row), style="bold" if i in table.highlighted else None)
    return rich


def report_problems(readers: Iterable[FaceReader], console: Console) -> None:
    """Print the files of data sets that were skipped.

    Raises:
        UserError: there are some.
    """
    counts = []
    for reader in readers:
        problems = reader.problems
        for problem in problems[:MAX_LISTED]:
            console.print(f"skipped: {problem}", style="yellow", markup=False, soft_wrap=True)
        if problems:
            more = f" ({len(problems) - MAX_LISTED} of them are not listed)" if len(problems) > MAX_LISTED else ""
            counts.append(f"{len(problems)} files of {reader.tree.path} were skipped{more}")
    if counts:
        raise UserError(f"{', '.join(counts)}; the results are of the other files")


def json_ready(value: Any) -> Any:
    """Return nested values with plain numbers, and None instead of NaN."""
    if isinstance(value, dict):
        return {key: json_ready(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [json_ready(item) for item in value]
    if isinstance(value, (float, np.floating)):
        return None if math.isnan(value) else float(value)
    return int(value) if isinstance(value, np.integer) else value
