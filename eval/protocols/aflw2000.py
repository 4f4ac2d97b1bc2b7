"""AFLW2000-3D as the field scores it (Zhu et al., CVPR 2016, and its successors).

- 2D NME: mean over the 68 points of the 2D distance, over sqrt(w * h) of the box of the label set that is scored. Bins
  by |yaw| of `Pose_Para`; the headline is the mean of the three bins' means.
- Two label sets: `pt3d_68`, and the reannotated one (Bulat and Tzimiropoulos, ICCV 2017).
- Pose: mean absolute errors of the images without any angle beyond 99 degrees (1,969 of the 2,000), and their mean
  geodesic error.
- GTE and 3D NME as JVCR defines them, on the original labels.

Published figures compare what a system puts out with `pt3d_68` as it stands in the file, which is 1-based. So does
`original`: predictions that are right in 0-based pixels, as 3DDFA-V2's and ours mean to be, are held to labels one
pixel further right and down. `original_zero_based` compares the two in one frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from eval import metrics, published
from eval.outcome import BIN_COLUMNS, Outcome, Table, bin_row, percent, summary_by_yaw
from eval.predictions import Predictions
from eval.protocols.frame import landmarks_as_scored
from synergy.data.sample import FaceSample
from synergy.errors import UserError
from synergy.geometry import matrix_to_euler

FULL_SIZE = 2000
FULL_BINS = (1312, 383, 305)
FULL_POSES = 1969


def score(
    samples: Sequence[FaceSample], predictions: Predictions, reannotated: NDArray[np.floating] | None = None
) -> Outcome:
    """The benchmark's figures; `reannotated` are the second labels (N, 68, >= 2) in the samples' order."""
    true = landmarks_as_scored(samples)
    zero_based = np.stack([sample.landmarks68 for sample in samples]).astype(np.float64)
    true_pose = np.stack([_pose(sample) for sample in samples])
    yaw, predicted = true_pose[:, 1], predictions.landmarks68.astype(np.float64)
    size = metrics.box_size(true)
    errors = {"original": metrics.nme(predicted[..., :2], true[..., :2], size)}
    if reannotated is not None:
        again = np.asarray(reannotated, np.float64)[..., :2]
        errors["reannotated"] = metrics.nme(predicted[..., :2], again, metrics.box_size(again))
    errors["original_zero_based"] = metrics.nme(predicted[..., :2], zero_based[..., :2], size)
    nme2d = {key: summary_by_yaw(value, yaw) for key, value in errors.items()}
    results: dict[str, Any] = {"counts": {"samples": len(samples), "bins": nme2d["original"]["counts"]}, "nme2d": nme2d}
    if predictions.has_depth:
        errors["gte"], errors["nme3d"] = metrics.gte(predicted, true), metrics.nme3d(predicted, true)
        for key in ("gte", "nme3d"):
            results[key] = metrics.mean_of(errors[key])
            results[f"{key}_summary"] = summary_by_yaw(errors[key], yaw)
    pose_errors = None
    if predictions.pose_deg is not None:
        results |= score_pose(predictions, true_pose)
        scored = metrics.pose_is_scored(true_pose)
        pose_errors = metrics.pose_errors(predictions.pose_deg, true_pose)[scored]
        results["counts"]["poses"] = int(scored.sum())
    _assert_published_counts(results["counts"], true_pose)
    return Outcome(
        title="AFLW2000-3D",
        results=results,
        tables=_tables(results, predictions),
        samples=samples,
        predicted=predicted,
        true=true,
        errors=errors,
        point_errors=100 * metrics.point_distances(predicted[..., :2], true[..., :2]) / size[:, None],
        yaw_deg=yaw,
        pose_errors=pose_errors,
    )


def score_pose(predictions: Predictions, true_deg: NDArray[np.floating]) -> dict[str, Any]:
    """Score the poses that the benchmark keeps.

    Args:
        predictions: with `pose_deg`.
        true_deg: (N, 3) pitch, yaw and roll in degrees.

    Returns:
        `pose_mae`, the mean absolute errors of the angles, and `geodesic`, the mean angle between the rotations, in
        degrees. Where the predicted rotations are known, `geodesic` is theirs, and `pose_mae_exact` are the errors of
        their exact Euler angles.

    Raises:
        UserError: no pose is kept.
    """
    scored = metrics.pose_is_scored(true_deg)
    if not scored.any():
        raise UserError("no sample has a pose within 99 degrees")
    assert predictions.pose_deg is not None
    results: dict[str, Any] = {"pose_mae": _mean_absolute_errors(predictions.pose_deg[scored], true_deg[scored])}
    exact = predictions.pose_deg
    if predictions.rotation is not None:
        rotation = torch.from_numpy(predictions.rotation).double()
        exact = matrix_to_euler(rotation).rad2deg().numpy()
        results["pose_mae_exact"] = _mean_absolute_errors(exact[scored], true_deg[scored])
    results["geodesic"] = float(metrics.geodesic_errors(exact[scored], true_deg[scored]).mean())
    return results


def _mean_absolute_errors(predicted_deg: NDArray[np.floating], true_deg: NDArray[np.floating]) -> dict[str, float]:
    mae = metrics.pose_errors(predicted_deg, true_deg).mean(0)
    return {**dict(zip(("pitch", "yaw", "roll"), map(float, mae), strict=True)), "mean": float(mae.mean())}


def _pose(sample: FaceSample) -> NDArray[np.floating]:
    if sample.pose_deg is None:
        raise UserError(f"{sample.name}: AFLW2000-3D's protocol needs the true pose")
    return sample.pose_deg


def _assert_published_counts(counts: dict[str, Any], true_pose: NDArray[np.floating]) -> None:
    if counts["samples"] != FULL_SIZE:
        return
    poses = int(metrics.pose_is_scored(true_pose).sum())
    if tuple(counts["bins"]) != FULL_BINS or poses != FULL_POSES:
        raise UserError(
            f"this is not AFLW2000-3D as published: bins of {counts['bins']} images and {poses} poses, "
            f"expected {list(FULL_BINS)} and {FULL_POSES}"
        )


def _tables(results: dict[str, Any], predictions: Predictions) -> list[Table]:
    nme2d, model_id, crops = results["nme2d"], predictions.model_id, predictions.crops
    own = nme2d["original"]
    second = nme2d.get("reannotated", {}).get("mean", float("nan"))
    tables = [
        _beside_peers(
            "2D NME, 68 points (%)",
            ("crops", *metrics.BIN_NAMES, "mean", "reannotated"),
            [(peer.method, (peer.crops,), peer.figures) for peer in published.AFLW2000_NME],
            [(model_id, (crops,), (*own["bins"], own["mean"], second))],
            " ".join([*_notes(results), published.CROPS_NOTE]),
        ),
        Table(
            "2D NME by label set (%)",
            ("labels", *BIN_COLUMNS),
            tuple(bin_row(key.replace("_", " "), value) for key, value in nme2d.items()),
        ),
    ]
    if "pose_mae" in results:
        own_poses = [(predictions.pose_from, results["pose_mae"])]
        if "pose_mae_exact" in results:
            own_poses.insert(0, (published.TRUE_ROTATION, results["pose_mae_exact"]))
        tables.append(
            _beside_peers(
                f"Head pose, mean absolute error of {results['counts']['poses']} images (degrees)",
                ("crops", "pose from", "yaw", "pitch", "roll", "mean", "geodesic"),
                [(p.method, (p.crops, p.pose_from), (*p.figures, None)) for p in published.AFLW2000_POSE],
                [
                    (
                        model_id,
                        (crops, pose_from),
                        (mae["yaw"], mae["pitch"], mae["roll"], mae["mean"], results["geodesic"]),
                    )
                    for pose_from, mae in own_poses
                ],
                published.POSE_NOTE,
            )
        )
    if "gte" in results:
        tables.append(
            _beside_peers(
                "Three dimensions (%)",
                ("crops", "GTE", "3D NME"),
                [(peer.method, (peer.crops,), peer.figures) for peer in published.AFLW2000_DEPTH],
                [(model_id, (crops,), (results["gte"], results["nme3d"]))],
                "Dense errors are scored with a Basel Face Model (--bfm) and weights that predict its mesh.",
            )
        )
    return tables


_Row = tuple[str, tuple[str, ...], tuple[float | None, ...]]


def _beside_peers(title: str, columns: tuple[str, ...], peers: list[_Row], own: list[_Row], note: str) -> Table:
    """Make a table of the peers' rows and, last and set off, our own."""
    rows = tuple((method, *made, *map(_cell, figures)) for method, made, figures in (*peers, *own))
    return Table(title, ("method", *columns), rows, ours=tuple(range(len(peers), len(rows))), note=note)


def _cell(value: float | None) -> str:
    return "-" if value is None else percent(value)


def _notes(results: dict[str, Any]) -> list[str]:
    samples = results["counts"]["samples"]
    notes = []
    if samples != FULL_SIZE:
        notes.append(f"Published rows are of all 2,000 images, ours of {samples}: compare with care.")
    if "reannotated" not in results["nme2d"]:
        notes.append("The reannotated labels were not found beside the images; give them with --reannotated.")
    return notes
