"""AFLW2000-3D (Zhu et al., CVPR 2016) with the definitions that published results use.

- 2D NME: mean over the 68 points of the 2D distance, over sqrt(w * h) of the box of the label set that is scored. Bins
  by |yaw| of `Pose_Para`. The headline is the mean of the three bins' means.
- Two label sets: `pt3d_68`, and the reannotated one (Bulat and Tzimiropoulos, ICCV 2017).
- Pose: mean absolute errors over the images without an angle beyond 99 degrees (1,969 of the 2,000), and their mean
  geodesic error.
- GTE and 3D NME as JVCR defines them, on the original labels.

Published results compare predictions with `pt3d_68` as it is stored in the file, in 1-based pixels. So does `original`.
Predictions in 0-based pixels, such as ours, are thereby compared with labels one pixel further right and down.
`original_zero_based` compares both in 0-based pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from eval import baselines, metrics
from eval.baselines import Baseline
from eval.predictions import Predictions
from eval.protocols.frame import landmarks_as_scored
from eval.protocols.reannotated import find_reannotated, read_reannotated
from eval.result import YAW_COLUMNS, ProtocolResult, Table, comparison_table, summarize_by_yaw, yaw_row
from synergy.data.aflw2000 import AFLW2000Reader
from synergy.data.sample import FaceSample
from synergy.errors import UserError
from synergy.geometry import matrix_to_euler

FULL_SIZE = 2000
FULL_BINS = (1312, 383, 305)
FULL_POSES = 1969


class AFLW2000Protocol:
    """`score` with the reannotated labels of a data set.

    Args:
        reader: the data set.
        reannotated: file of the reannotated labels; None looks for one in the data set's folder.

    Raises:
        UserError: the file is not valid, or it is of another data set.
    """

    def __init__(self, reader: AFLW2000Reader, reannotated: Path | None) -> None:
        self._rows = {name: row for row, name in enumerate(reader.names)}
        self._labels = None
        if reannotated is not None:
            self._labels = read_reannotated(reannotated, reader.names)
        elif name := find_reannotated(reader.tree):
            self._labels = read_reannotated((reader.tree, name), reader.names)

    def __call__(self, samples: Sequence[FaceSample], predictions: Predictions) -> ProtocolResult:
        """Score predictions in the order of the samples."""
        if self._labels is None:
            return score(samples, predictions)
        return score(samples, predictions, self._labels[[self._rows[sample.name] for sample in samples]])


def score(
    samples: Sequence[FaceSample], predictions: Predictions, reannotated: NDArray[np.floating] | None = None
) -> ProtocolResult:
    """Score predictions by the benchmark's definitions.

    Args:
        samples: N samples with the true pose.
        predictions: in the order of the samples.
        reannotated: (N, 68, 2 or 3) the second label set in the order of the samples, or None.

    Raises:
        UserError: a sample has no true pose, or 2,000 samples are not those of the benchmark.
    """
    true = landmarks_as_scored(samples)
    zero_based = np.stack([sample.landmarks68 for sample in samples]).astype(np.float64)
    true_pose = np.stack([_pose(sample) for sample in samples])
    yaw, predicted = true_pose[:, 1], predictions.landmarks68.astype(np.float64)
    size = metrics.box_size(true)
    errors = {"original": metrics.nme(predicted[..., :2], true[..., :2], size)}
    if reannotated is not None:
        second = np.asarray(reannotated, np.float64)[..., :2]
        errors["reannotated"] = metrics.nme(predicted[..., :2], second, metrics.box_size(second))
    errors["original_zero_based"] = metrics.nme(predicted[..., :2], zero_based[..., :2], size)
    nme2d = {key: summarize_by_yaw(value, yaw) for key, value in errors.items()}
    scores: dict[str, Any] = {"counts": {"samples": len(samples), "bins": nme2d["original"]["counts"]}, "nme2d": nme2d}
    if predictions.has_depth:
        errors["gte"], errors["nme3d"] = metrics.gte(predicted, true), metrics.nme3d(predicted, true)
        for key in ("gte", "nme3d"):
            scores[key] = metrics.mean_of(errors[key])
            scores[f"{key}_summary"] = summarize_by_yaw(errors[key], yaw)
    pose_errors = None
    if predictions.pose_deg is not None:
        pose_scores, pose_errors = score_pose(predictions, true_pose)
        scores |= pose_scores
        scores["counts"]["poses"] = len(pose_errors)
    _check_full_set(scores["counts"], true_pose)
    return ProtocolResult(
        title="AFLW2000-3D",
        scores=scores,
        tables=_tables(scores, predictions),
        samples=samples,
        predicted=predicted,
        true=true,
        errors=errors,
        point_errors=100 * metrics.point_distances(predicted[..., :2], true[..., :2]) / size[:, None],
        yaw_deg=yaw,
        pose_errors=pose_errors,
    )


def score_pose(predictions: Predictions, true_deg: NDArray[np.floating]) -> tuple[dict[str, Any], NDArray[np.float64]]:
    """Score the poses without a true angle beyond 99 degrees.

    Args:
        predictions: with `pose_deg`.
        true_deg: (N, 3) pitch, yaw and roll in degrees.

    Returns:
        `pose_mae`, the mean absolute errors of the angles, and `geodesic`, the mean angle between the rotations, in
        degrees. Where the predicted rotations are known, `geodesic` is computed from them, and `pose_mae_exact` holds
        the errors of their exact Euler angles. Also the absolute errors (M, 3) of the scored pitch, yaw and roll.

    Raises:
        UserError: there is no such pose.
    """
    is_scored = metrics.pose_is_scored(true_deg)
    if not is_scored.any():
        raise UserError("no sample has a pose within 99 degrees")
    assert predictions.pose_deg is not None
    true_deg, exact = true_deg[is_scored], predictions.pose_deg[is_scored]
    errors = metrics.pose_errors(exact, true_deg)
    scores: dict[str, Any] = {"pose_mae": _mean_by_angle(errors)}
    if predictions.rotation is not None:
        rotation = torch.from_numpy(predictions.rotation[is_scored]).double()
        exact = matrix_to_euler(rotation).rad2deg().numpy()
        scores["pose_mae_exact"] = _mean_by_angle(metrics.pose_errors(exact, true_deg))
    scores["geodesic"] = float(metrics.geodesic_errors(exact, true_deg).mean())
    return scores, errors


def _mean_by_angle(errors: NDArray[np.float64]) -> dict[str, float]:
    """Return the means of errors (M, 3) of pitch, yaw and roll, and the mean of the three."""
    mae = errors.mean(0)
    return {**dict(zip(("pitch", "yaw", "roll"), map(float, mae), strict=True)), "mean": float(mae.mean())}


def _pose(sample: FaceSample) -> NDArray[np.floating]:
    if sample.pose_deg is None:
        raise UserError(f"{sample.name}: AFLW2000-3D's protocol needs the true pose")
    return sample.pose_deg


def _check_full_set(counts: dict[str, Any], true_pose: NDArray[np.floating]) -> None:
    """Raise `UserError` if there are 2,000 samples but bins or poses have other counts than in published results."""
    if counts["samples"] != FULL_SIZE:
        return
    poses = int(metrics.pose_is_scored(true_pose).sum())
    if tuple(counts["bins"]) != FULL_BINS or poses != FULL_POSES:
        raise UserError(
            f"this is not AFLW2000-3D as published: bins of {counts['bins']} images and {poses} poses, "
            f"expected {list(FULL_BINS)} and {FULL_POSES}"
        )


def _tables(scores: dict[str, Any], predictions: Predictions) -> list[Table]:
    nme2d, model_id, crops = scores["nme2d"], predictions.model_id, predictions.crops
    original, reannotated = nme2d["original"], nme2d.get("reannotated", {}).get("mean")
    tables = [
        comparison_table(
            "2D NME, 68 points (%)",
            ("crops", *metrics.BIN_NAMES, "mean", "reannotated"),
            baselines.AFLW2000_NME,
            [Baseline(model_id, (*original["bins"], original["mean"], reannotated), crops)],
            " ".join([*_notes(scores), baselines.CROPS_NOTE]),
        ),
        Table(
            "2D NME by label set (%)",
            ("labels", *YAW_COLUMNS),
            tuple(yaw_row(key.replace("_", " "), value) for key, value in nme2d.items()),
        ),
    ]
    if "pose_mae" in scores:
        own = [(predictions.pose_from, scores["pose_mae"])]
        if "pose_mae_exact" in scores:
            own.insert(0, (baselines.TRUE_ROTATION, scores["pose_mae_exact"]))
        angles, geodesic = ("yaw", "pitch", "roll", "mean"), scores["geodesic"]
        tables.append(
            comparison_table(
                f"Head pose, mean absolute error of {scores['counts']['poses']} images (degrees)",
                ("crops", "pose from", *angles, "geodesic"),
                [row._replace(values=(*row.values, None)) for row in baselines.AFLW2000_POSE],
                [Baseline(model_id, (*(mae[key] for key in angles), geodesic), crops, how) for how, mae in own],
                baselines.POSE_NOTE,
            )
        )
    if "gte" in scores:
        tables.append(
            comparison_table(
                "3D errors (%)",
                ("crops", "GTE", "3D NME"),
                baselines.AFLW2000_DEPTH,
                [Baseline(model_id, (scores["gte"], scores["nme3d"]), crops)],
                "Dense errors need a Basel Face Model (--bfm) and weights that predict its mesh.",
            )
        )
    return tables


def _notes(scores: dict[str, Any]) -> list[str]:
    samples = scores["counts"]["samples"]
    notes = []
    if samples != FULL_SIZE:
        notes.append(
            f"The last row is of {samples} images, the rows of other systems are of all 2,000: they do not compare "
            "exactly."
        )
    if "reannotated" not in scores["nme2d"]:
        notes.append("There is no file of the reannotated labels in the data's folder; give one with --reannotated.")
    return notes
