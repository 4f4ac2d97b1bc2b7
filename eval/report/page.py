"""The report page of one evaluation: one HTML file that loads nothing from elsewhere, made from `page.html`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from numpy.typing import NDArray

from eval.report import charts
from eval.report.gallery import MeshOverlay, face_card, rank_samples
from eval.report.volumes import volume_views
from eval.result import ProtocolResult, Table, format_value
from synergy.data.reader import FaceReader, SampleError
from synergy.data.sample import FaceSample
from synergy.errors import UserError
from synergy.landmarks import CONTOURS

FILE_NAME = "index.html"
MAX_CURVES = 3
_DETAILS = ("command", "model_id", "data", "data_hash", "version", "seconds")
# The scores at the top of the page, where a protocol has them: path in the scores, label, unit.
_HEADLINE = (
    ("nme2d.original.mean", "2D NME, mean of yaw bins", "%"),
    ("nme2d.reannotated.mean", "2D NME on the reannotated labels", "%"),
    ("nme2d.all68.mean", "2D NME, mean of yaw bins", "%"),
    ("nme2d.visible68.mean", "visible points, mean of yaw bins", "%"),
    ("nme2d.visible51.mean", "visible points without the jaw", "%"),
    ("nme2d.inter_ocular.all68.mean", "68 points over outer eyes", "%"),
    ("nme2d.inter_ocular.inner51.mean", "inner 51 points over outer eyes", "%"),
    ("nme2d.box.all68.mean", "68 points over box", "%"),
    ("pose_mae.mean", "pose, mean absolute error", "°"),
    ("depths.d64.overlap", "soft overlap at D = 64", "%"),
    ("within.3", "points within 3 voxels", "%"),
    ("gte", "GTE", "%"),
    ("dense.nme", "dense NME", "%"),
)

VolumesOf = Callable[[FaceSample], tuple[NDArray[np.floating], NDArray[np.floating]] | None]


def write_report(
    result: ProtocolResult,
    reader: FaceReader,
    rows: NDArray[np.intp],
    folder: Path,
    overlay: MeshOverlay | None = None,
    volumes_of: VolumesOf | None = None,
) -> Path:
    """Write the page into a folder.

    Args:
        result: see `render`.
        reader: see `render`.
        rows: see `render`.
        folder: made if it does not exist.
        overlay: see `render`.
        volumes_of: see `render`.

    Returns:
        The path of the page.

    Raises:
        UserError: the folder cannot be written to.
    """
    path = folder / FILE_NAME
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(render(result, reader, rows, overlay, volumes_of), encoding="utf-8")
    except OSError as error:
        raise UserError(f"{folder}: the report cannot be written there ({error.strerror})") from None
    return path


def render(
    result: ProtocolResult,
    reader: FaceReader,
    rows: NDArray[np.intp],
    overlay: MeshOverlay | None = None,
    volumes_of: VolumesOf | None = None,
) -> str:
    """Make the page.

    Args:
        result: the result of the protocol.
        reader: the images are read from it.
        rows: (N,) index of each sample in the reader.
        overlay: how to draw the predicted meshes of the faces; None leaves them out.
        volumes_of: returns the true and the predicted volume (D, H, W) of a sample in the network's crop, or None for a
            network that predicts no volumes; None leaves them out.

    Returns:
        An HTML document.
    """
    main_error, errors = next(iter(result.errors.items()))
    groups = rank_samples(errors)
    galleries = {
        title: [face_card(result, i, reader, int(rows[i]), overlay) for i in indices]
        for title, indices in groups.items()
    }
    # The first of the worst and of the best, and the one in the middle of the median group.
    examples = {title: indices[len(indices) // 2 * (title == "Median")] for title, indices in groups.items()}
    curves = {_label(name): values for name, values in list(result.errors.items())[:MAX_CURVES]}
    network_volumes = []
    if result.has_volumes and volumes_of is not None:
        for label, i in examples.items():
            with suppress(SampleError):  # the gallery says why there is no picture
                if (pair := volumes_of(reader.read(int(rows[i])))) is not None:
                    network_volumes.append((label, *pair))
    poses = result.pose_errors
    environment = Environment(
        loader=PackageLoader("eval", "report"), autoescape=True, undefined=StrictUndefined, keep_trailing_newline=True
    )
    return environment.get_template("page.html").render(
        result=result,
        model_id=result.scores.get("model_id", "predictions"),
        counts={"skipped": 0, **result.scores["counts"]},
        headline=_headline(result.scores),
        error_curves=charts.ced_curves(curves),
        yaw_chart=None if result.yaw_deg is None else charts.yaw_scatter(errors, result.yaw_deg),
        landmark_chart=charts.landmark_errors(result.point_errors),
        parts_table=_parts_table(result.point_errors),
        pose_chart=None if poses is None or not len(poses) else charts.pose_histograms(poses),
        reliability_chart=charts.reliability_curves(result.reliability) if result.reliability else None,
        volumes=volume_views(result, examples, network_volumes) if result.has_volumes else None,
        main_error=_label(main_error),
        layers={"true": True, "predicted": True} | ({"mesh": False} if overlay else {}),
        galleries=galleries,
        details=_details(result.scores),
        style=_read("page.css"),
        script=_read("page.js") + _read("volume.js"),
    )


def _read(name: str) -> str:
    return (files("eval.report") / name).read_text(encoding="utf-8")


def _label(error_name: str) -> str:
    return error_name.replace("_", " ").replace(".", ", ")


def _headline(scores: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Return label, value and unit of the scores at the top of the page."""
    tiles = []
    for path, label, unit in _HEADLINE:
        value: Any = scores
        for key in path.split("."):
            value = value.get(key) if isinstance(value, Mapping) else None
        if isinstance(value, float):
            tiles.append((label, format_value(value), unit))
    return tiles


def _parts_table(point_errors: NDArray[np.floating]) -> Table:
    means = charts.point_means(point_errors)
    parts = [(name, means[first:end]) for name, (first, end, _) in CONTOURS.items()]
    rows = tuple(
        (name, format_value(float(np.nanmean(values))), format_value(float(np.nanmax(values))))
        for name, values in parts
        if np.isfinite(values).any()
    )
    return Table("By part of the face (%)", ("part", "mean", "worst landmark"), rows)


def _details(scores: Mapping[str, Any]) -> list[tuple[str, str]]:
    details = [(key.replace("_", " "), str(scores[key])) for key in _DETAILS if key in scores]
    return details + [("skipped", f"{sample['name']}: {sample['reason']}") for sample in scores.get("skipped", ())]
