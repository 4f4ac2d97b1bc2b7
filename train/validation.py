"""What one validation set says of a network: landmark errors by yaw bin and pose errors."""

from __future__ import annotations

import torch
from torch import Tensor

from synergy.geometry import decompose_pose, matrix_to_euler
from synergy.landmarks import INNER51
from synergy.models import SynergyOutput
from synergy.models.synergynet import N_POSE
from train.batch import Batch

YAW_BINS = {"0_30": (0, 30), "30_60": (30, 60), "60_90": (60, 181)}


class FaceScores:
    """Accumulates batches; errors in percent and degrees, unknown labels left out.

    nme / inner: mean 2D distance to the hand-labelled visible points (all / without the jaw), over the face box; a
    bin's value is the mean of its faces, `_mean` the mean of the bins. label_nme: the same to the fitted labels.
    The face box is `sqrt(w h)` of the hand-labelled points, or side / sqrt(2) where a set has no faces with all 68
    (AFLW: `box_of_crop`).
    """

    def __init__(self, box_of_crop: bool, side: int = 120) -> None:
        self.box_of_crop, self.side = box_of_crop, side
        self.rows: list[dict[str, Tensor]] = []

    def update(self, batch: Batch, output: SynergyOutput) -> None:
        hand = (batch.hand - output.landmarks[..., :2]).norm(dim=-1)
        extent = (batch.hand.amax(1) - batch.hand.amin(1)).prod(-1).sqrt()
        norm = torch.full_like(extent, self.side / 2**0.5) if self.box_of_crop else extent
        fitted = (batch.landmarks[..., :2] - output.landmarks[..., :2]).norm(dim=-1)
        box = (batch.landmarks[..., :2].amax(1) - batch.landmarks[..., :2].amin(1)).prod(-1).sqrt()
        true, predicted = (torch.rad2deg(_angles(p)) for p in (batch.params, output.params))
        self.rows.append(
            {
                "yaw": batch.yaw.abs(),
                "nme": 100 * hand.nanmean(-1) / norm,
                "inner": 100 * hand[:, INNER51].nanmean(-1) / norm,
                "coarse_inner": 100 * (batch.hand - output.coarse[..., :2]).norm(dim=-1)[:, INNER51].nanmean(-1) / norm,
                "label_nme": 100 * fitted.nanmean(-1) / box,
                "pose_error": (true - predicted).abs().mean(-1),
            }
        )

    def compute(self) -> dict[str, float]:
        rows = {key: torch.cat([row[key] for row in self.rows]) for key in self.rows[0]}
        yaw = rows.pop("yaw")
        result: dict[str, float] = {}
        for key, values in rows.items():
            bins = {
                name: values[(yaw >= low) & (yaw < high) & values.isfinite()].mean().item()
                for name, (low, high) in YAW_BINS.items()
            }
            known = {name: value for name, value in bins.items() if value == value}
            if known:
                result |= {f"{key}_{name}": value for name, value in known.items()}
                result[f"{key}_mean"] = sum(known.values()) / len(known)
        return result


def _angles(params: Tensor) -> Tensor:
    return matrix_to_euler(decompose_pose(params[:, :N_POSE])[1])
