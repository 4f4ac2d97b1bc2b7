"""300W-LP, scored with the definitions of AFLW2000-3D.

300W-LP is the common training set. Scores on it show how well a network fits its training data. Both labels and
predictions are in 0-based pixels; there are no published scores to compare with.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from eval import metrics
from eval.predictions import Predictions
from eval.protocols.aflw2000 import score_pose
from eval.result import YAW_COLUMNS, ProtocolResult, Table, format_value, summarize_by_yaw, yaw_row
from synergy.data.sample import FaceSample
from synergy.errors import UserError


def score(samples: Sequence[FaceSample], predictions: Predictions) -> ProtocolResult:
    """Score 2D NME over the box by |yaw|, head pose, and GTE and 3D NME where the labels have depth.

    Args:
        samples: with the true pose.
        predictions: in the order of the samples.

    Raises:
        UserError: a sample has no true pose.
    """
    if any(sample.pose_deg is None for sample in samples):
        raise UserError("300W-LP's protocol needs the true pose of each sample")
    true_pose = np.stack([sample.pose_deg for sample in samples if sample.pose_deg is not None])
    dims = min(sample.landmarks68.shape[1] for sample in samples)
    true = np.stack([sample.landmarks68[:, :dims] for sample in samples]).astype(np.float64)
    predicted, yaw = predictions.landmarks68.astype(np.float64), true_pose[:, 1]
    size = metrics.box_size(true)
    errors = {"all68": metrics.nme(predicted[..., :2], true[..., :2], size)}
    nme2d = {"all68": summarize_by_yaw(errors["all68"], yaw)}
    scores: dict[str, Any] = {
        "counts": {"samples": len(samples), "bins": nme2d["all68"]["counts"]},
        "nme2d": nme2d,
    }
    rows = [yaw_row("2D NME (%)", nme2d["all68"])]
    if dims == 3 and predictions.has_depth:
        errors |= {"gte": metrics.gte(predicted, true), "nme3d": metrics.nme3d(predicted, true)}
        for key, label in (("gte", "GTE (%)"), ("nme3d", "3D NME (%)")):
            scores[key] = metrics.mean_of(errors[key])
            rows.append(yaw_row(label, summarize_by_yaw(errors[key], yaw)))
    tables = [Table(f"300W-LP: {predictions.model_id}", ("metric", *YAW_COLUMNS), tuple(rows))]
    pose_errors = None
    if predictions.pose_deg is not None:
        pose_scores, pose_errors = score_pose(predictions, true_pose)
        scores |= pose_scores
        values = [*(scores["pose_mae"][key] for key in ("yaw", "pitch", "roll", "mean")), scores["geodesic"]]
        columns = ("yaw", "pitch", "roll", "mean", "geodesic")
        tables.append(Table("Head pose (degrees)", columns, (tuple(map(format_value, values)),)))
    return ProtocolResult(
        title="300W-LP",
        scores=scores,
        tables=tables,
        samples=samples,
        predicted=predicted,
        true=true,
        errors=errors,
        point_errors=100 * metrics.point_distances(predicted[..., :2], true[..., :2]) / size[:, None],
        yaw_deg=yaw,
        pose_errors=pose_errors,
    )
