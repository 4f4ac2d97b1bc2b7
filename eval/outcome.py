"""What a protocol hands back: numbers for files, tables for people, and the arrays that pictures are drawn from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eval import metrics
from synergy.data.sample import FaceSample


@dataclass(frozen=True)
class Table:
    """A table of text; `ours` are the indices of the rows to set off from the published ones."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    ours: tuple[int, ...] = ()
    note: str = ""


@dataclass(frozen=True, eq=False)
class Outcome:
    """The result of one protocol.

    Attributes:
        title: the protocol, for headings.
        results: the figures under stable keys, ready for JSON.
        tables: the figures as tables, the headline first.
        samples: the N scored samples; their images may be empty.
        predicted: (N, 68, 2 or 3) predicted points, in the frame of `true`.
        true: (N, 68, 2 or 3) true points in image pixels, NaN where they were not scored.
        errors: named per-sample errors (N,) in percent, the headline's first.
        point_errors: (N, 68) distances over the headline's normaliser, in percent, NaN where not scored.
        yaw_deg: (N,) true yaw, or None.
        has_volumes: whether to draw the landmarks as JVCR's volumes.
        pose_errors: (M, 3) absolute errors of pitch, yaw, roll in degrees of the M poses scored, or None.
    """

    title: str
    results: Mapping[str, Any]
    tables: Sequence[Table]
    samples: Sequence[FaceSample]
    predicted: NDArray[np.floating]
    true: NDArray[np.floating]
    errors: Mapping[str, NDArray[np.float64]]
    point_errors: NDArray[np.float64]
    yaw_deg: NDArray[np.floating] | None = None
    pose_errors: NDArray[np.float64] | None = None
    has_volumes: bool = False


def summary(errors: NDArray[np.float64]) -> dict[str, float]:
    """Mean, median, AUC and failure rate at 7 % of errors (N,) in percent, rates in percent too."""
    return {
        "mean": metrics.mean_of(errors),
        "median": float(np.nanmedian(errors)),
        "auc7": 100 * metrics.auc(errors),
        "failure7": 100 * metrics.failure_rate(errors),
    }


def summary_by_yaw(errors: NDArray[np.float64], yaw_deg: NDArray[np.floating]) -> dict[str, Any]:
    """The bins' figures, with `mean` the mean of bin means, then median, AUC and failure rate over the samples."""
    binned = asdict(metrics.by_yaw(errors, yaw_deg))
    return {**summary(errors), **{key: list(v) if isinstance(v, tuple) else v for key, v in binned.items()}}


def percent(value: float) -> str:
    """Two decimals, or a dash for NaN."""
    return "-" if value != value else f"{value:.2f}"


def bin_row(label: str, binned: Mapping[str, Any]) -> tuple[str, ...]:
    """A row of a table with `BIN_COLUMNS`."""
    figures = [
        *binned["bins"],
        binned["mean"],
        binned["std"],
        binned["sample_mean"],
        binned["auc7"],
        binned["failure7"],
    ]
    return (label, *map(percent, figures))


BIN_COLUMNS = (*metrics.BIN_NAMES, "mean", "std", "samples", "AUC@7", "fail@7")
