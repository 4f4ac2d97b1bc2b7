"""What a protocol returns: scores for files, tables for readers, and the arrays that charts are drawn from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eval import metrics
from eval.baselines import Baseline
from eval.calibration import Reliability
from synergy.data.sample import FaceSample

YAW_COLUMNS = (*metrics.BIN_NAMES, "mean", "std", "all", "AUC@7", "fail@7")


@dataclass(frozen=True)
class Table:
    """A table of text.

    Attributes:
        title: the heading.
        columns: the column headings.
        rows: the cells of each row.
        highlighted: indices of the rows to emphasise: those of the evaluated predictor.
        note: explanation below the table.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    highlighted: tuple[int, ...] = ()
    note: str = ""


@dataclass(frozen=True, eq=False)
class ProtocolResult:
    """The result of one protocol.

    Attributes:
        title: name of the benchmark, for headings.
        scores: the scores under stable keys, ready for JSON (docs/evaluation.md).
        tables: the scores as tables, the most important one first.
        samples: the N scored samples. Their images may be empty.
        predicted: (N, 68, 2 or 3) predicted points in image pixels.
        true: (N, 68, 2 or 3) true points as they are compared with the predicted ones, NaN where they were not scored.
            Their first pixel is `eval.protocols.frame.origin`.
        errors: per-sample errors (N,) in percent by name, the benchmark's main one first.
        point_errors: (N, 68) distances of the points over the main normaliser in percent, NaN where not scored.
        yaw_deg: (N,) true yaw in degrees, or None.
        pose_errors: (M, 3) absolute errors of pitch, yaw and roll in degrees of the M scored poses, or None.
        has_volumes: whether the report draws the landmarks as volumes.
        reliability: predicted against observed frequencies of errors, by what was predicted (`eval.uncertainty`).
    """

    title: str
    scores: Mapping[str, Any]
    tables: Sequence[Table]
    samples: Sequence[FaceSample]
    predicted: NDArray[np.floating]
    true: NDArray[np.floating]
    errors: Mapping[str, NDArray[np.float64]]
    point_errors: NDArray[np.float64]
    yaw_deg: NDArray[np.floating] | None = None
    pose_errors: NDArray[np.float64] | None = None
    has_volumes: bool = False
    reliability: Mapping[str, Reliability] = field(default_factory=dict)


def summarize(errors: NDArray[np.float64]) -> dict[str, float]:
    """Compute mean, median, AUC and failure rate at 7 % of errors (N,) in percent; all results are in percent."""
    return {
        "mean": metrics.mean_of(errors),
        "median": float(np.nanmedian(errors)),
        "auc7": 100 * metrics.auc(errors),
        "failure7": 100 * metrics.failure_rate(errors),
    }


def summarize_by_yaw(errors: NDArray[np.float64], yaw_deg: NDArray[np.floating]) -> dict[str, Any]:
    """Summarise errors (N,) in percent by yaw (N,) in degrees.

    Returns:
        The fields of `metrics.YawBins`, whose `mean` is the mean of the bins' means, and median, AUC and failure rate
        over all samples.
    """
    binned = asdict(metrics.by_yaw(errors, yaw_deg))
    return {**summarize(errors), **{key: list(v) if isinstance(v, tuple) else v for key, v in binned.items()}}


def format_value(value: float | None) -> str:
    """Format a value with two decimals, or as a dash when it is unknown (None or NaN)."""
    return "-" if value is None or value != value else f"{value:.2f}"


def yaw_row(label: str, summary: Mapping[str, Any]) -> tuple[str, ...]:
    """Make a table row with `YAW_COLUMNS` from a summary of `summarize_by_yaw`."""
    values = [*summary["bins"], *(summary[key] for key in ("mean", "std", "sample_mean", "auc7", "failure7"))]
    return (label, *map(format_value, values))


def comparison_table(
    title: str, columns: tuple[str, ...], baselines: Sequence[Baseline], own: Sequence[Baseline], note: str = ""
) -> Table:
    """Make a table of baselines, followed by the highlighted rows of the evaluated predictor.

    Args:
        title: of the table.
        columns: without "method". "crops" and "pose from" at the beginning are filled from the baselines.
        baselines: rows of other systems.
        own: rows of the evaluated predictor.
        note: explanation below the table.
    """
    conditions = {"crops": "crops", "pose from": "pose_from"}
    stated = [conditions[column] for column in columns if column in conditions]
    rows = tuple(
        (row.method, *(getattr(row, name) for name in stated), *map(format_value, row.values))
        for row in (*baselines, *own)
    )
    return Table(title, ("method", *columns), rows, highlighted=tuple(range(len(baselines), len(rows))), note=note)
