"""300W-LP scored as AFLW2000-3D is: a training set, so a figure of fit, not of merit.

Its 2D points are read in one frame with the predictions (0-based); there is no published convention to repeat.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from eval import metrics
from eval.outcome import BIN_COLUMNS, Outcome, Table, bin_row, percent, summary_by_yaw
from eval.predictions import Predictions
from eval.protocols.aflw2000 import score_pose
from synergy.data.sample import FaceSample
from synergy.errors import UserError


def score(samples: Sequence[FaceSample], predictions: Predictions) -> Outcome:
    """NME of the 68 points over the box by |yaw|, pose errors, and GTE and 3D NME where the labels have depth."""
    if any(sample.pose_deg is None for sample in samples):
        raise UserError("300W-LP's protocol needs the true pose of each sample")
    true_pose = np.stack([sample.pose_deg for sample in samples if sample.pose_deg is not None])
    dims = min(sample.landmarks68.shape[1] for sample in samples)
    true = np.stack([sample.landmarks68[:, :dims] for sample in samples]).astype(np.float64)
    predicted, yaw = predictions.landmarks68.astype(np.float64), true_pose[:, 1]
    size = metrics.box_size(true)
    errors = {"all68": metrics.nme(predicted[..., :2], true[..., :2], size)}
    nme2d = {"all68": summary_by_yaw(errors["all68"], yaw)}
    results: dict[str, Any] = {
        "counts": {"samples": len(samples), "bins": nme2d["all68"]["counts"]},
        "nme2d": nme2d,
    }
    rows = [bin_row("2D NME (%)", nme2d["all68"])]
    if dims == 3 and predictions.has_depth:
        errors |= {"gte": metrics.gte(predicted, true), "nme3d": metrics.nme3d(predicted, true)}
        for key, label in (("gte", "GTE (%)"), ("nme3d", "3D NME (%)")):
            results[key] = metrics.mean_of(errors[key])
            rows.append(bin_row(label, summary_by_yaw(errors[key], yaw)))
    tables = [Table(f"300W-LP: {predictions.model_id}", ("figure", *BIN_COLUMNS), tuple(rows))]
    pose_errors = None
    if predictions.pose_deg is not None:
        results |= score_pose(predictions, true_pose)
        pose_errors = metrics.pose_errors(predictions.pose_deg, true_pose)[metrics.pose_is_scored(true_pose)]
        figures = [*(results["pose_mae"][key] for key in ("yaw", "pitch", "roll", "mean")), results["geodesic"]]
        tables.append(
            Table("Head pose (degrees)", ("yaw", "pitch", "roll", "mean", "geodesic"), (tuple(map(percent, figures)),))
        )
    return Outcome(
        title="300W-LP",
        results=results,
        tables=tables,
        samples=samples,
        predicted=predicted,
        true=true,
        errors=errors,
        point_errors=100 * metrics.point_distances(predicted[..., :2], true[..., :2]) / size[:, None],
        yaw_deg=yaw,
        pose_errors=pose_errors,
    )
