"""JVCR-style voxel evaluation of any predictor: its landmarks and the true ones as compact volumes, per depth.

Per D in 1, 2, 4, 64: `mse` and `overlap` (soft, in percent). At D = 64: the share of the 71 points within 1, 2, 3
voxels of the truth, and the floor, which is what encoding the truth and decoding it costs. Beside them GTE and 3D NME.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from eval import metrics, voxels
from eval.outcome import Outcome, Table, percent, summary
from eval.predictions import Predictions
from eval.protocols.frame import landmarks_as_scored
from synergy.data.sample import FaceSample
from synergy.errors import UserError

BATCH = 32
RADII = (1, 2, 3)
FINE = max(voxels.DEPTHS)


def score(samples: Sequence[FaceSample], predictions: Predictions, device: str = "cpu") -> Outcome:
    """The voxel figures of predictions with depth against samples with depth.

    Raises:
        UserError: either has 2D landmarks only.
    """
    true = landmarks_as_scored(samples)
    if true.shape[2] != 3:
        raise UserError("voxels need true landmarks with depth; 300W-LP has them with --bfm")
    if not predictions.has_depth:
        raise UserError(f"predictions of '{predictions.model_id}' are 2D: voxels need (N, 68, 3)")
    predicted = predictions.landmarks68.astype(np.float64)
    errors = {"gte": metrics.gte(predicted, true), "nme3d": metrics.nme3d(predicted, true)}
    t, p = (torch.from_numpy(points).to(device) for points in (true, predicted))
    frame = voxels.frame_of(t)
    depths = {f"d{depth}": _volume_figures(p, t, frame, depth) for depth in voxels.DEPTHS}
    results: dict[str, Any] = {
        "counts": {"samples": len(samples), "points": voxels.N_POINTS},
        "depths": depths,
        "within": _shares_within(p, t, frame),
        "floor": _floor(t, frame),
        "gte": metrics.mean_of(errors["gte"]),
        "nme3d": metrics.mean_of(errors["nme3d"]),
        "gte_summary": summary(errors["gte"]),
        "nme3d_summary": summary(errors["nme3d"]),
    }
    size = metrics.box_size(true)
    has_pose = all(sample.pose_deg is not None for sample in samples)
    return Outcome(
        title="JVCR-style voxels",
        results=results,
        tables=_tables(results, predictions.model_id),
        samples=samples,
        predicted=predicted,
        true=true,
        errors=errors,
        point_errors=100 * metrics.point_distances(predicted[..., :2], true[..., :2]) / size[:, None],
        yaw_deg=np.array([s.pose_deg[1] for s in samples if s.pose_deg is not None]) if has_pose else None,
        has_volumes=True,
    )


def _volume_figures(predicted: Tensor, true: Tensor, frame: voxels.VolumeFrame, depth: int) -> dict[str, float]:
    p, t = (voxels.to_voxels(points, frame, depth) for points in (predicted, true))
    figures = [
        torch.stack(voxels.volume_errors(voxels.encode(a, depth), voxels.encode(b, depth)))
        for a, b in zip(p.split(BATCH), t.split(BATCH), strict=True)
    ]
    mse, overlap = torch.cat(figures, 1).double().mean(1).tolist()
    return {"mse": mse, "overlap": 100 * overlap}


def _shares_within(predicted: Tensor, true: Tensor, frame: voxels.VolumeFrame) -> dict[str, float]:
    distance = (voxels.to_voxels(predicted, frame, FINE) - voxels.to_voxels(true, frame, FINE)).norm(dim=-1)
    return {str(radius): 100 * float((distance <= radius).double().mean()) for radius in RADII}


def _floor(true: Tensor, frame: voxels.VolumeFrame) -> dict[str, float]:
    """Errors of the truth after encoding and decoding at D = 64.

    A decoded Gaussian on an integer centre is that integer (`voxels.decode`), so no volume need be made for it.
    """
    exact = voxels.to_voxels(true, frame, FINE)
    decoded = voxels.nearest_voxels(exact).clamp(0, voxels.RESOLUTION - 1).to(exact)
    points = voxels.from_voxels(decoded, frame, FINE)[:, :68].cpu().numpy()
    reference = true.cpu().numpy()
    return {
        "voxels": float((decoded - exact).norm(dim=-1).mean()),
        "gte": metrics.mean_of(metrics.gte(points, reference)),
        "nme3d": metrics.mean_of(metrics.nme3d(points, reference)),
    }


def _tables(results: dict[str, Any], model_id: str) -> list[Table]:
    depth_rows = tuple(
        (key[1:], f"{figures['mse']:.6f}", percent(figures["overlap"])) for key, figures in results["depths"].items()
    )
    floor, within = results["floor"], results["within"]
    return [
        Table(f"Compact volumes of {model_id}", ("D", "mean squared error", "soft overlap (%)"), depth_rows),
        Table(
            "Landmarks at D = 64 (%)",
            ("", "GTE", "3D NME", *(f"<= {radius} voxels" for radius in RADII)),
            (
                (model_id, percent(results["gte"]), percent(results["nme3d"]), *map(percent, within.values())),
                ("floor of encoding", percent(floor["gte"]), percent(floor["nme3d"]), *("-",) * len(RADII)),
            ),
            ours=(0,),
        ),
    ]
