"""The report of one evaluation: figures, curves, the faces that went wrong, and what made it."""

from __future__ import annotations

import html
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eval.outcome import Outcome, Table, percent
from eval.report import figures
from eval.report.gallery import Meshes, gallery, ranked_groups
from eval.report.volumes import volume_section
from synergy.data.reader import FaceReader
from synergy.errors import UserError
from synergy.landmarks import CONTOURS

FILE_NAME = "index.html"
MAX_CURVES = 3
_FACTS = ("command", "model_id", "data", "data_hash", "version", "seconds")


def write_report(
    outcome: Outcome, reader: FaceReader, rows: NDArray[np.intp], folder: Path, meshes: Meshes | None = None
) -> Path:
    """Write the page into a folder, which is made if need be; see `render` for the other arguments.

    Raises:
        UserError: the folder cannot be written to.
    """
    path = folder / FILE_NAME
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(render(outcome, reader, rows, meshes), encoding="utf-8")
    except OSError as error:
        raise UserError(f"{folder}: the report cannot be written there ({error.strerror})") from None
    return path


def render(outcome: Outcome, reader: FaceReader, rows: NDArray[np.intp], meshes: Meshes | None = None) -> str:
    """Make the page, one HTML document that loads nothing.

    Args:
        outcome: the result of the protocol.
        reader: the images are read from it.
        rows: (N,) the samples' indices in the reader.
        meshes: how to draw the predicted meshes of the faces shown; None leaves them out.
    """
    style, page_js, volume_js = (
        (files("eval.report") / name).read_text(encoding="utf-8") for name in ("page.css", "page.js", "volume.js")
    )
    sections = [
        _header(outcome),
        _section("Figures", "".join(map(_table, outcome.tables))),
        _section("How the errors are spread", _spread(outcome)),
        _section("Where on the face", _where(outcome)),
    ]
    if outcome.pose_errors is not None and len(outcome.pose_errors):
        chart = f'<div class="chart">{figures.pose_histograms(outcome.pose_errors)}</div>'
        sections.append(_section("Head pose", chart))
    groups = ranked_groups(next(iter(outcome.errors.values())))
    if outcome.has_volumes:
        picks = {group.title: group.indices[len(group.indices) // 2 * (group.title == "Median")] for group in groups}
        sections.append(_section("Volumes", _layers() + volume_section(outcome, picks)))
    shown = "".join(gallery(outcome, reader, rows, group, meshes) for group in groups)
    faces = _layers(*(["mesh"] if meshes else [])) + shown
    sections += [_section("Faces", faces), _section("What made this page", _facts(outcome.results))]
    title = html.escape(f"{outcome.title}: {outcome.results.get('model_id', '')}")
    return (
        '<!doctype html><html lang="en" class="hide-mesh"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<title>{title}</title><link rel="icon" href="data:,"><style>{style}</style></head>'
        f"<body><main>{''.join(sections)}</main><script>{page_js}{volume_js}</script></body></html>\n"
    )


def _header(outcome: Outcome) -> str:
    results, counts = outcome.results, outcome.results["counts"]
    skipped = f", {counts['skipped']} skipped" if counts.get("skipped") else ""
    tiles = "".join(
        f"<div><b>{percent(value)}<small>{unit}</small></b><span>{label}</span></div>"
        for label, value, unit in _tiles(outcome)
    )
    return (
        f"<header><h1>{html.escape(str(results.get('model_id', 'predictions')))} on {html.escape(outcome.title)}</h1>"
        f'<p>{counts["samples"]:,} faces scored{skipped}</p><div class="tiles">{tiles}</div></header>'
    )


def _tiles(outcome: Outcome) -> list[tuple[str, float, str]]:
    """The few figures that a reader looks for first: label, value, unit."""
    results = outcome.results
    tiles: list[tuple[str, float, str]] = []
    for path, label, unit in (
        ("nme2d.original.mean", "2D NME, mean of yaw bins", "%"),
        ("nme2d.reannotated.mean", "on the reannotated labels", "%"),
        ("nme2d.all68.mean", "2D NME, mean of yaw bins", "%"),
        ("nme2d.visible68.mean", "visible points, mean of yaw bins", "%"),
        ("nme2d.visible51.mean", "without the jaw", "%"),
        ("nme2d.inter_ocular.all68.mean", "68 points over outer eyes", "%"),
        ("nme2d.inter_ocular.inner51.mean", "inner 51 over outer eyes", "%"),
        ("nme2d.box.all68.mean", "68 points over box", "%"),
        ("pose_mae.mean", "pose, mean absolute error", "°"),
        ("depths.d64.overlap", "soft overlap at D = 64", "%"),
        ("within.3", "points within 3 voxels", "%"),
        ("gte", "GTE", "%"),
        ("dense.nme", "dense NME", "%"),
    ):
        value: Any = results
        for key in path.split("."):
            value = value.get(key) if isinstance(value, Mapping) else None
        if isinstance(value, float):
            tiles.append((label, value, unit))
    return tiles


def _spread(outcome: Outcome) -> str:
    curves = dict(list(outcome.errors.items())[:MAX_CURVES])
    labels = {name.replace("_", " ").replace(".", ", "): values for name, values in curves.items()}
    charts = [("Cumulative error", figures.ced_curves(labels))]
    if outcome.yaw_deg is not None:
        charts.append(("Error by yaw", figures.yaw_scatter(next(iter(outcome.errors.values())), outcome.yaw_deg)))
    return f'<div class="pair">{"".join(map(_chart, charts))}</div>'


def _where(outcome: Outcome) -> str:
    means = figures.point_means(outcome.point_errors)
    groups = [(name, means[first:end]) for name, (first, end, _) in CONTOURS.items()]
    rows = tuple(
        (name, percent(float(np.nanmean(values))), percent(float(np.nanmax(values))))
        for name, values in groups
        if np.isfinite(values).any()
    )
    chart = _chart(
        ("Mean error of each point, as the area of its disc (%)", figures.landmark_errors(outcome.point_errors))
    )
    return f'<div class="pair">{chart}{_table(Table("By part (%)", ("part", "mean", "its worst point"), rows))}</div>'


def _facts(results: Mapping[str, Any]) -> str:
    items = [(key.replace("_", " "), results[key]) for key in _FACTS if key in results]
    skipped = [f"{problem['name']}: {problem['reason']}" for problem in results.get("skipped", ())]
    items += [("skipped", text) for text in skipped]
    body = "".join(
        f"<dt>{html.escape(key)}</dt><dd><code>{html.escape(str(value))}</code></dd>" for key, value in items
    )
    return f'<div class="scroll"><dl>{body}</dl></div>'


def _layers(*more: str) -> str:
    """Make check boxes that show and hide the true and predicted points, and further layers, hidden at first."""
    boxes = "".join(
        f'<label><input type="checkbox" data-layer="{kind}"{checked}><i class="{kind}"></i>{kind}</label>'
        for kind, checked in (("true", " checked"), ("predicted", " checked"), *((kind, "") for kind in more))
    )
    return f'<div class="layers">{boxes}</div>'


def _chart(titled: tuple[str, str]) -> str:
    title, svg = titled
    return f'<div class="chart"><h3>{title}</h3>{svg}</div>'


def _table(table: Table) -> str:
    head = "".join(f"<th>{html.escape(column)}</th>" for column in table.columns)
    body = "".join(
        f"<tr{' class=ours' if i in table.ours else ''}>{''.join(f'<td>{html.escape(cell)}</td>' for cell in row)}</tr>"
        for i, row in enumerate(table.rows)
    )
    note = f'<p class="note">{html.escape(table.note)}</p>' if table.note else ""
    caption = f"<caption>{html.escape(table.title)}</caption>"
    return (
        f'<div class="scroll"><table>{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{note}</div>'
    )


def _section(title: str, body: str) -> str:
    return f"<section><h2>{title}</h2>{body}</section>"
