"""What one validation set says of a network: landmark errors by yaw bin and pose errors, with eval's definitions."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from eval.metrics import BIN_NAMES, box_size, by_yaw, nme, pose_errors
from synergy.geometry import decompose_pose, matrix_to_euler
from synergy.landmarks import INNER51
from synergy.models import SynergyOutput
from synergy.parameters import split_pose
from train.batch import Batch


class FaceScores:
    """Accumulates batches; errors in percent and degrees, unknown labels left out.

    - nme, inner: mean 2D distance to the hand-labelled visible points (all, and without the jaw) over the face box;
      coarse_inner: the same before MAFA.
    - label_nme: mean 2D distance to the fitted labels over their box; coarse_label_nme: the same before MAFA.
    - pose: mean absolute error of pitch, yaw and roll to the labels'.

    Each is given by |yaw| bin, as the `_mean` of the bins' means and over all faces, `_all`. The face box is sqrt(w h)
    of the 68 hand-labelled points, or with `box_of_crop` side / sqrt(2), where no face has all of them (AFLW).
    """

    def __init__(self, box_of_crop: bool, side: int = 120) -> None:
        self.box_of_crop, self.side = box_of_crop, side
        self.yaw: list[NDArray[np.floating]] = []
        self.errors: dict[str, list[NDArray[np.floating]]] = {}

    def update(self, batch: Batch, output: SynergyOutput) -> None:
        """Add a batch and the network's output for it."""
        hand, label = batch.hand.cpu().numpy(), batch.landmarks[..., :2].cpu().numpy()
        refined, coarse = (points[..., :2].cpu().numpy() for points in (output.landmarks, output.coarse))
        face = np.full(len(batch), self.side / 2**0.5) if self.box_of_crop else box_size(hand)
        true, predicted = (_angles_deg(p.cpu()) for p in (batch.params, output.params))
        new = {
            "nme": nme(refined, hand, face),
            "inner": nme(refined[:, INNER51], hand[:, INNER51], face),
            "coarse_inner": nme(coarse[:, INNER51], hand[:, INNER51], face),
            "label_nme": nme(refined, label, box_size(label)),
            "coarse_label_nme": nme(coarse, label, box_size(label)),
            "pose": pose_errors(predicted, true).mean(-1),
        }
        self.yaw.append(batch.yaw.cpu().numpy())
        for key, values in new.items():
            self.errors.setdefault(key, []).append(values)

    def compute(self) -> dict[str, float]:
        """Every figure by its name, for example `inner_0-30`; those without any face are left out."""
        result: dict[str, float] = {}
        yaw = np.concatenate(self.yaw)
        for key, parts in self.errors.items():
            bins = by_yaw(np.concatenate(parts), yaw)
            figures = dict(zip(BIN_NAMES, bins.bins, strict=True)) | {"mean": bins.mean, "all": bins.sample_mean}
            result |= {f"{key}_{name}": value for name, value in figures.items() if value == value}
        return result


def has_crop_box(source: str) -> bool:
    """Whether a validation set's errors are taken over the crop's share: AFLW labels visible points only."""
    return source.startswith("aflw")


def _angles_deg(params: Tensor) -> NDArray[np.floating]:
    return torch.rad2deg(matrix_to_euler(decompose_pose(split_pose(params)[0])[1])).numpy()
