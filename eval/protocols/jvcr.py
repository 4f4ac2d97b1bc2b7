"""Voxel evaluation after JVCR: predicted and true landmarks as compact volumes (`synergy.voxels`).

- For each depth D of 1, 2, 4 and 64 voxels: mean squared error and soft overlap in percent.
- At D = 64: the percentage of the 71 points within 1, 2 and 3 voxels of the true ones, and the quantisation floor: the
  error of the true points after they are rounded to voxels.
- GTE and 3D NME.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from eval import metrics
from eval.predictions import Predictions
from eval.protocols.frame import landmarks_as_scored
from eval.result import ProtocolResult, Table, format_value, summarize
from synergy import voxels
from synergy.data.sample import FaceSample
from synergy.errors import UserError

BATCH_SIZE = 32
RADII = (1, 2, 3)
FINEST = max(voxels.DEPTHS)


def score(samples: Sequence[FaceSample], predictions: Predictions, device: str = "cpu") -> ProtocolResult:
    """Score predictions as volumes.

    Args:
        samples: with 3D landmarks (`eval.protocols.usable.has_depth`).
        predictions: with depth, in the order of the samples.
        device: where the volumes are computed, "cpu" or "cuda".

    Raises:
        UserError: the predictions have 2D landmarks only.
    """
    true = landmarks_as_scored(samples)
    if not predictions.has_depth:
        raise UserError(f"predictions of '{predictions.model_id}' are 2D: voxels need (N, 68, 3)")
    predicted = predictions.landmarks68.astype(np.float64)
    errors = {"gte": metrics.gte(predicted, true), "nme3d": metrics.nme3d(predicted, true)}
    t, p = (torch.from_numpy(points).to(device) for points in (true, predicted))
    frame = voxels.volume_frame(t)
    depths = {f"d{depth}": _compare_volumes(p, t, frame, depth) for depth in voxels.DEPTHS}
    scores: dict[str, Any] = {
        "counts": {"samples": len(samples), "points": voxels.N_POINTS},
        "depths": depths,
        "within": _percentages_within(p, t, frame),
        "floor": _quantisation_floor(t, frame),
        "gte": metrics.mean_of(errors["gte"]),
        "nme3d": metrics.mean_of(errors["nme3d"]),
        "gte_summary": summarize(errors["gte"]),
        "nme3d_summary": summarize(errors["nme3d"]),
    }
    size = metrics.box_size(true)
    has_pose = all(sample.pose_deg is not None for sample in samples)
    return ProtocolResult(
        title="JVCR-style voxels",
        scores=scores,
        tables=_tables(scores, predictions.model_id),
        samples=samples,
        predicted=predicted,
        true=true,
        errors=errors,
        point_errors=100 * metrics.point_distances(predicted[..., :2], true[..., :2]) / size[:, None],
        yaw_deg=np.array([s.pose_deg[1] for s in samples if s.pose_deg is not None]) if has_pose else None,
        has_volumes=True,
    )


def _compare_volumes(predicted: Tensor, true: Tensor, frame: voxels.VolumeFrame, depth: int) -> dict[str, float]:
    p, t = (voxels.to_voxels(points, frame, depth) for points in (predicted, true))
    errors = [
        torch.stack(voxels.volume_errors(voxels.encode(a, depth), voxels.encode(b, depth)))
        for a, b in zip(p.split(BATCH_SIZE), t.split(BATCH_SIZE), strict=True)
    ]
    mse, overlap = torch.cat(errors, 1).double().mean(1).tolist()
    return {"mse": mse, "overlap": 100 * overlap}


def _percentages_within(predicted: Tensor, true: Tensor, frame: voxels.VolumeFrame) -> dict[str, float]:
    distance = (voxels.to_voxels(predicted, frame, FINEST) - voxels.to_voxels(true, frame, FINEST)).norm(dim=-1)
    return {str(radius): 100 * float((distance <= radius).double().mean()) for radius in RADII}


def _quantisation_floor(true: Tensor, frame: voxels.VolumeFrame) -> dict[str, float]:
    """Compute the errors of true points that are drawn into volumes of D = 64 and read back.

    The peak of each Gaussian is the voxel of its point. Reading it back gives that voxel, so no volume is drawn here.
    """
    exact = voxels.to_voxels(true, frame, FINEST)
    rounded = voxels.nearest_voxels(exact).clamp(0, voxels.RESOLUTION - 1).to(exact)
    points = voxels.from_voxels(rounded, frame, FINEST)[:, :68].cpu().numpy()
    reference = true.cpu().numpy()
    return {
        "voxels": float((rounded - exact).norm(dim=-1).mean()),
        "gte": metrics.mean_of(metrics.gte(points, reference)),
        "nme3d": metrics.mean_of(metrics.nme3d(points, reference)),
    }


def _tables(scores: dict[str, Any], model_id: str) -> list[Table]:
    depth_rows = tuple(
        (key[1:], f"{volume['mse']:.6f}", format_value(volume["overlap"])) for key, volume in scores["depths"].items()
    )
    floor, within = scores["floor"], scores["within"]
    return [
        Table(f"Compact volumes of {model_id}", ("D", "mean squared error", "soft overlap (%)"), depth_rows),
        Table(
            "Landmarks at D = 64 (%)",
            ("", "GTE", "3D NME", *(f"<= {radius} voxels" for radius in RADII)),
            (
                (model_id, *map(format_value, (scores["gte"], scores["nme3d"], *within.values()))),
                ("quantisation floor", *map(format_value, (floor["gte"], floor["nme3d"])), *("-",) * len(RADII)),
            ),
            highlighted=(0,),
        ),
    ]
