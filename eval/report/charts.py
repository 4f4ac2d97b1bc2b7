"""Charts as inline SVG. Their colours are CSS variables of the page, so that they follow its light or dark theme."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from bfm_assets import open_face
from eval import metrics
from eval.calibration import Reliability
from eval.result import format_value
from synergy.landmarks import CONTOURS

# Colours that are replaced by the CSS variable of the same name in the finished SVG.
_VARIABLES = {"ink": "#111111", "muted": "#777777", "grid": "#dddddd", "true": "#0a7f78", "predicted": "#d9541e"}
INK, MUTED, GRID, TRUE, PREDICTED = _VARIABLES.values()
_SERIES = (PREDICTED, TRUE, MUTED)
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.size": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "text.color": INK,
    "axes.grid": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "axes.axisbelow": True,
}
CED_LIMIT = 12.0  # percent
YAW_LIMIT = 100.0  # degrees; faces are labelled up to about 95


def ced_curves(errors: Mapping[str, ArrayLike]) -> str:
    """Draw cumulative error curves, with the failure threshold marked.

    Args:
        errors: per-sample errors (N,) in percent by name.

    Returns:
        The chart as SVG.
    """
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(5.6, 3.9), layout="constrained")
        axes = figure.add_subplot()
        grid = np.linspace(0, CED_LIMIT, 241)
        for (name, values), colour in zip(errors.items(), _SERIES, strict=False):
            label = f"{name}   AUC {format_value(100 * metrics.auc(values))}"
            axes.plot(grid, 100 * metrics.ced(values, grid), color=colour, linewidth=2, label=label)
        axes.axvline(metrics.FAILURE_THRESHOLD, color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
        axes.text(metrics.FAILURE_THRESHOLD + 0.12, 3, "failure beyond 7 %", color=MUTED)
        axes.set(xlim=(0, CED_LIMIT), ylim=(0, 100), xlabel="error of an image (%)", ylabel="images at or below (%)")
        axes.legend(frameon=False, loc="lower right", bbox_to_anchor=(1.0, 0.1))
        return _svg(figure, "ced")


def reliability_curves(curves: Mapping[str, Reliability]) -> str:
    """Draw how many errors lie within the limits of predicted probabilities.

    Args:
        curves: by what was predicted.

    Returns:
        The chart as SVG.
    """
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(5.6, 3.9), layout="constrained")
        axes = figure.add_subplot()
        axes.plot([0, 100], [0, 100], color=MUTED, linewidth=1, linestyle=(0, (4, 3)), label="calibrated")
        for (name, curve), colour in zip(curves.items(), _SERIES, strict=False):
            label = f"{name}, mean difference {curve.error:.1f} %"
            axes.plot(100 * curve.predicted, 100 * curve.observed, color=colour, linewidth=2, label=label)
        axes.set(xlim=(0, 100), ylim=(0, 100), xlabel="predicted probability (%)", ylabel="errors within the limit (%)")
        axes.legend(frameon=False, loc="lower right")
        return _svg(figure, "reliability")


def yaw_scatter(errors: NDArray[np.floating], yaw_deg: NDArray[np.floating]) -> str:
    """Draw error against |yaw|, one dot per image, with the edges and means of the benchmark's bins.

    A dot outside the axes is drawn at their edge. AFLW2000-3D has such labels: one states a yaw of 351 degrees.

    Args:
        errors: (N,) in percent.
        yaw_deg: (N,) true yaw in degrees.

    Returns:
        The chart as SVG.
    """
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(5.6, 3.9), layout="constrained")
        axes = figure.add_subplot()
        yaw = np.abs(yaw_deg)
        top = max(float(np.nanpercentile(errors, 99.5)) * 1.15, 0.1)
        alpha = float(np.clip(40 / np.sqrt(len(errors)) / 2, 0.25, 0.8))
        shown = np.minimum(yaw, YAW_LIMIT), np.minimum(errors, top)
        axes.scatter(*shown, s=16, color=PREDICTED, alpha=alpha, linewidths=0, clip_on=False)
        edges = (0.0, *metrics.YAW_EDGES, YAW_LIMIT)
        for left, end, mean in zip(edges[:-1], edges[1:], metrics.by_yaw(errors, yaw).bins, strict=True):
            if mean == mean:
                axes.plot([left, end], [mean, mean], color=INK, linewidth=2)
                axes.text((left + end) / 2, top, f"mean {mean:.2f}", ha="center", va="bottom", color=INK)
        for edge in metrics.YAW_EDGES:
            axes.axvline(edge, color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
        beyond = int((yaw > YAW_LIMIT).sum())
        note = f", {beyond} beyond {YAW_LIMIT:g} at the edge" if beyond else ""
        axes.set(xlim=(0, YAW_LIMIT), ylim=(0, top), xlabel=f"|yaw| (degrees{note})", ylabel="error of an image (%)")
        axes.set_xticks(range(0, int(YAW_LIMIT) + 1, 10))
        return _svg(figure, "yaw")


def landmark_errors(point_errors: NDArray[np.floating]) -> str:
    """Draw the mean error of each landmark as the area of a disc on a frontal face.

    Args:
        point_errors: (N, 68) in percent, NaN where unknown.

    Returns:
        The chart as SVG.
    """
    means = point_means(point_errors)
    with mpl.rc_context({**_STYLE, "axes.grid": False}):
        figure = Figure(figsize=(5.6, 5.6), layout="constrained")
        axes = figure.add_subplot()
        face = _frontal_face()
        for first, end, closed in CONTOURS.values():
            curve = face[[*range(first, end), *([first] if closed else [])]]
            axes.plot(*curve.T, color=GRID, linewidth=1.5, zorder=1)
        known = np.isfinite(means)
        axes.scatter(
            face[known, 0],
            face[known, 1],
            s=340 * means[known] / max(7.0, np.nanmax(means)),
            color=PREDICTED,
            alpha=0.75,
            linewidths=0,
            zorder=2,
        )
        for i in _far_apart(face, means, 4):
            axes.annotate(
                f"{i + 1}: {means[i]:.1f}", face[i], xytext=(9, 9), textcoords="offset points", color=INK, zorder=3
            )
        axes.set_aspect("equal")
        axes.margins(0.1)
        axes.set_axis_off()
        return _svg(figure, "landmarks")


def pose_histograms(errors: NDArray[np.floating]) -> str:
    """Draw histograms of pose errors.

    Args:
        errors: (M, 3) absolute errors of pitch, yaw and roll in degrees.

    Returns:
        The chart as SVG.
    """
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(11.4, 3.1), layout="constrained")
        top = float(np.clip(np.percentile(errors, 98), 5, 60))
        bins = np.linspace(0, top, 31)
        panels = figure.subplots(1, 3, sharey=True)
        for axes, column, name in zip(panels, (1, 0, 2), ("yaw", "pitch", "roll"), strict=True):
            values = errors[:, column]
            percentages = np.full(len(values), 100 / len(values))
            axes.hist(np.minimum(values, top), bins=bins, weights=percentages, color=PREDICTED, rwidth=0.88)
            axes.axvline(values.mean(), color=INK, linewidth=1.5)
            axes.set_title(f"{name}: mean {values.mean():.2f}°, median {np.median(values):.2f}°", fontsize=11)
            axes.set(xlim=(0, top), xlabel="absolute error (degrees; larger ones in the last bar)")
            axes.grid(visible=False, axis="x")
        panels[0].set_ylabel("images (%)")
        return _svg(figure, "pose")


def projections(rows: Sequence[tuple[str, NDArray[np.floating], NDArray[np.floating]]]) -> str:
    """Draw maximum-intensity projections of volumes, one row of four panels per face.

    Args:
        rows: label, true volume (D, H, W) and predicted volume (D, H, W) of each face.

    Returns:
        The chart as SVG.
    """
    with mpl.rc_context({**_STYLE, "axes.grid": False}):
        figure = Figure(figsize=(11.4, 3.0 * len(rows)), layout="constrained")
        panels: NDArray[np.object_] = figure.subplots(len(rows), 4, squeeze=False)
        for line, (label, true, predicted) in zip(panels, rows, strict=True):
            # From the front: over z. From the side: over x, with the nearer voxels to the right.
            views = [(f"{view}, {name}", volume.max(axis)) for axis, view in ((0, "front"), (2, "side"))
                     for name, volume in (("true", true), ("predicted", predicted))]  # fmt: skip
            for axes, (title, image) in zip(line, views, strict=True):
                axes.imshow(image if title.startswith("front") else image.T, cmap="magma", vmin=0, vmax=1)
                axes.set(xticks=[], yticks=[])
                axes.set_title(title, fontsize=10)
                for spine in axes.spines.values():
                    spine.set_visible(False)
            line[0].set_ylabel(label, color=INK)
        return _svg(figure, "projections")


def point_means(point_errors: NDArray[np.floating]) -> NDArray[np.float64]:
    """Compute the mean error of each landmark.

    Args:
        point_errors: (N, 68), NaN where unknown.

    Returns:
        (68,), NaN for a landmark that no sample has.
    """
    counts = np.isfinite(point_errors).sum(0)
    return np.asarray(np.nansum(point_errors, 0) / np.where(counts, counts, np.nan))


def _frontal_face() -> NDArray[np.float64]:
    model = open_face()
    return model.mean[model.landmarks][:, :2].astype(np.float64)


def _far_apart(points: NDArray[np.floating], values: NDArray[np.floating], count: int) -> list[int]:
    """Return indices of the largest values without points that are close together, so that labels do not overlap."""
    distance = np.ptp(points[:, 1]) / 8
    taken: list[int] = []
    for i in np.argsort(-np.nan_to_num(values)):
        if len(taken) < count and all(np.linalg.norm(points[i] - points[j]) > distance for j in taken):
            taken.append(int(i))
    return taken


def _svg(figure: Figure, name: str) -> str:
    """Return the figure as an `<svg>` element. Its ids depend on `name`, so that two charts have different ids."""
    buffer = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'<g id="[^"]*"', "<g", text)  # names of groups, which nothing refers to
    for variable, colour in _VARIABLES.items():
        text = text.replace(colour, f"var(--{variable})")
    return text
