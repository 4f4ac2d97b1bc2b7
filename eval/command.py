"""One evaluation from files to files: what `synergy eval` does behind its options."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table as RichTable
from rich.text import Text

from bfm_assets.schema import MorphableModel
from eval.dense import DenseErrors, dense_table
from eval.network import NetworkPredictor
from eval.outcome import Outcome, Table
from eval.predictions import Predictions
from eval.protocols import aflw2000
from eval.protocols.reannotated import find_reannotated, read_reannotated
from eval.run import Collected, collect
from synergy.camera import preferred_projection
from synergy.data.aflw2000 import AFLW2000Reader
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

Scorer = Callable[[Sequence[FaceSample], Predictions], Outcome]
MAX_LISTED = 20


@dataclass(frozen=True)
class Job:
    """What to score and where to put the results.

    Attributes:
        scorer: the protocol.
        model: network to run (`synergy.registry.open_network`), unless `given` predictions are scored.
        bfm: Basel Face Model of networks that need one.
        mirror: take the mean with each crop's mirror image.
        given, save_to: predictions `.npz` to read or write.
        json_to, report_to: where the figures and the page go.
        renderer: draws the page's meshes (`synergy.raster.rasterizer`).
        device: "cpu" or "cuda".
        command: the command line, for the record.
        dense: collects dense errors while predicting.
        keep: which samples the protocol has a use for.
    """

    scorer: Scorer
    model: str
    bfm: Path | None = None
    mirror: bool = False
    given: Path | None = None
    save_to: Path | None = None
    json_to: Path | None = None
    report_to: Path | None = None
    renderer: str = "builtin"
    device: str = "cpu"
    command: str = ""
    dense: DenseErrors | None = None
    keep: Callable[[FaceSample], bool] = lambda _: True


class AFLW2000Scorer:
    """AFLW2000-3D's protocol with the reannotated labels found for a reader."""

    def __init__(self, reader: AFLW2000Reader, reannotated: Path | None) -> None:
        self._names = reader.names
        self._labels = None
        if reannotated is not None:
            self._labels = read_reannotated(reannotated, reader.names)
        elif name := find_reannotated(reader.tree):
            self._labels = read_reannotated((reader.tree, name), reader.names)

    def __call__(self, samples: Sequence[FaceSample], predictions: Predictions) -> Outcome:
        if self._labels is None:
            return aflw2000.score(samples, predictions)
        row = {name: i for i, name in enumerate(self._names)}
        return aflw2000.score(samples, predictions, self._labels[[row[sample.name] for sample in samples]])


def run(reader: FaceReader, job: Job, console: Console | None = None) -> Outcome:
    """Predict or read predictions, score, print, write.

    Raises:
        UserError: the job cannot be done; or, after everything is written, samples had to be skipped.
    """
    console = console or Console(highlight=False)
    draw_triangles = rasterizer(job.renderer)
    for path in (job.save_to, job.json_to):
        if path is not None:
            require_writable_file(path)
    if job.report_to is not None:
        require_writable_folder(job.report_to)
        with needs_extra("eval", "--report"):
            import matplotlib as mpl  # noqa: F401
    predictor: NetworkPredictor | Predictions = Predictions.load(job.given) if job.given else network(job)
    collected = collect(reader, predictor, _progress(job), job.keep)
    outcome = job.scorer(collected.samples, collected.predictions)
    if job.dense is not None and job.dense.nme:
        results = {**outcome.results, **job.dense.compute()}
        tables = [*outcome.tables, dense_table(results, collected.predictions.model_id)]
        outcome = replace(outcome, results=results, tables=tables)
    outcome = replace(outcome, results=_with_facts(outcome, reader, collected, job))
    for table in outcome.tables:
        console.print(_rich(table))
        if table.note:
            console.print(table.note + "\n", style="dim", markup=False, soft_wrap=True)
    if job.save_to:
        collected.predictions.save(job.save_to)
    if job.json_to:
        job.json_to.write_text(json.dumps(_plain(outcome.results), indent=2) + "\n")
    if job.report_to:
        from eval.report.gallery import Meshes
        from eval.report.page import write_report

        meshes = None
        if isinstance(predictor, NetworkPredictor) and predictor.has_mesh:
            meshes = Meshes(predictor.face, draw_triangles)
        page = write_report(outcome, reader, collected.rows, job.report_to, meshes)
        console.print(f"report: {page}", markup=False, soft_wrap=True)
    _report_problems(reader, console)
    return outcome


def network(job: Job) -> NetworkPredictor:
    """Open the job's network as a predictor that shows its faces to the job's dense errors.

    A network of a BFM's 68 landmark vertices has no mesh, so it is scored without dense errors.
    """
    require_device(job.device)
    net = open_network(job.model, job.bfm)
    if isinstance(net, SynergyNet):  # others project poses that are not rotations, which pytorch3d's cameras cannot
        net.projection = preferred_projection()
    predictor = FacePredictor(net, device=job.device, mirror=job.mirror)
    if job.dense is None or not (job.dense.model.is_dense or net.morphable_model.is_dense):
        return NetworkPredictor(predictor)
    require_same_mesh(job.dense.model, net.morphable_model)
    return NetworkPredictor(predictor, job.dense.update)


def require_same_mesh(bfm: MorphableModel, predicted: MorphableModel) -> None:
    """`UserError` in one line unless meshes of the two models correspond, vertex by vertex."""
    if not bfm.is_dense:
        raise UserError(f"'{bfm.name}' has landmark vertices only: dense errors need a BFM with its mesh")
    if bfm.n_vertices != predicted.n_vertices:
        raise UserError(
            f"dense errors need weights that predict BFM meshes: these predict '{predicted.name}' with "
            f"{predicted.n_vertices} vertices, '{bfm.name}' has {bfm.n_vertices}; leave out --bfm"
        )


def _with_facts(outcome: Outcome, reader: FaceReader, collected: Collected, job: Job) -> dict[str, Any]:
    import synergy

    problems = reader.problems
    return {
        "protocol": outcome.title,
        "model_id": collected.predictions.model_id,
        **outcome.results,
        "counts": {**outcome.results["counts"], "skipped": len(problems)},
        "skipped": [{"name": problem.name, "reason": problem.reason} for problem in problems[:MAX_LISTED]],
        "data": reader.tree.path.name,
        "data_hash": reader.digest(),
        "seconds": round(collected.seconds, 3),
        "command": job.command,
        "version": getattr(synergy, "__version__", "unknown"),
    }


def _progress(job: Job) -> Callable[[Iterable[int]], Iterable[int]]:
    """A progress bar with an ETA over a range of samples."""

    def track(rows: Iterable[int]) -> Iterable[int]:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("ETA"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
            yield from progress.track(list(rows), description="Reading labels" if job.given else "Predicting")

    return track


def _rich(table: Table) -> RichTable:
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
        rich.add_row(*map(Text, row), style="bold" if i in table.ours else None)
    return rich


def _report_problems(reader: FaceReader, console: Console) -> None:
    problems = reader.problems
    for problem in problems[:MAX_LISTED]:
        console.print(f"skipped: {problem.name}: {problem.reason}", style="yellow", markup=False, soft_wrap=True)
    if problems:
        more = f", {len(problems) - MAX_LISTED} more than are listed" if len(problems) > MAX_LISTED else ""
        raise UserError(
            f"{len(problems)} files of {reader.tree.path} were skipped{more}; the figures are of the others"
        )


def _plain(value: Any) -> Any:
    """Numbers that JSON knows: NaN becomes null."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, (float, np.floating)):
        return None if math.isnan(value) else float(value)
    return int(value) if isinstance(value, np.integer) else value
