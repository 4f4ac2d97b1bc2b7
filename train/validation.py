"""Landmark and pose errors of a network on one validation set, by the definitions of `eval.metrics`."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat
from typing_extensions import override

from eval.metrics import BIN_NAMES, box_size, by_yaw, nme, pose_errors
from synergy.geometry import decompose_pose, matrix_to_euler
from synergy.landmarks import INNER51
from synergy.models import SynergyNet, SynergyOutput
from synergy.models.landmark_net import LandmarkNet
from synergy.parameters import split_pose
from train.batch import Batch
from train.landmark_crops import predict_stored
from train.packs.pack import CROP_SIZE
from train.uncertainty import UncertaintyScores

# Errors against manual annotations. They are kept in pixels until `compute` knows which box to divide by.
_ANNOTATED = ("nme", "inner", "coarse_inner")
_COLUMNS = ("yaw", "box", "is_finite", *_ANNOTATED, "label_nme", "coarse_label_nme", "pose")


class FaceScores(Metric):
    """Mean errors over one validation set. Unknown labels and predictions that are not finite are left out.

    The figures are

    - nme, inner: mean 2D distance to the annotated visible points, in percent of the face box; all 68 points, and the
      51 without the jaw. coarse_inner is the same for the landmarks before MAFA.
    - label_nme: mean 2D distance to the fitted labels, in percent of the box sqrt(w h) of the label. coarse_label_nme
      is the same for the landmarks before MAFA.
    - pose: mean absolute error of pitch, yaw and roll in degrees, against the label's.

    If every annotated face of the set has all 68 points, the face box is sqrt(w h) of these points. Otherwise the box
    of the points would depend on which points are known. It is then the face box of the crop, side / sqrt(2).

    Every process of a distributed run scores all faces (`train.data.FaceDataModule`). The state is therefore not
    synchronised: each face would count once per process.
    """

    full_state_update = False
    rows: list[Tensor]

    def __init__(self) -> None:
        super().__init__(sync_on_compute=False)
        self.add_state("rows", default=[], dist_reduce_fx="cat")

    @override
    def update(self, batch: Batch, output: SynergyOutput) -> None:
        """Add a batch and the output of the network for it."""
        annotated, label = batch.annotated68.cpu().numpy(), batch.landmarks[..., :2].cpu().numpy()
        refined, coarse = (points[..., :2].cpu().numpy() for points in (output.landmarks, output.coarse))
        is_finite = np.isfinite(np.stack([refined, coarse])).all((0, 2, 3))
        annotated, label = (np.where(is_finite[:, None, None], points, np.nan) for points in (annotated, label))
        true, predicted = (_angles_deg(params.cpu()) for params in (batch.params, output.params))
        # A mean distance in percent of one pixel is 100 times the distance in pixels.
        columns = {
            "yaw": batch.yaw.cpu().numpy(),
            "box": _box_sizes(annotated),
            "is_finite": is_finite,
            "nme": nme(refined, annotated, 1.0),
            "inner": nme(refined[:, INNER51], annotated[:, INNER51], 1.0),
            "coarse_inner": nme(coarse[:, INNER51], annotated[:, INNER51], 1.0),
            "label_nme": nme(refined, label, _box_sizes(label)),
            "coarse_label_nme": nme(coarse, label, _box_sizes(label)),
            "pose": pose_errors(predicted, true).mean(-1),
        }
        rows = np.stack([np.asarray(columns[name], np.float32) for name in _COLUMNS], -1)
        self.rows.append(torch.from_numpy(rows).to(self.device))

    @override
    def compute(self) -> dict[str, float]:
        """Return the figures, for example `inner_0-30`.

        Returns:
            Each figure by bin of |yaw|, as the mean of the bins (`_mean`) and over all faces (`_all`). Figures without
            any face are left out. `not_finite` is the number of faces without a finite prediction, if there are any.
        """
        if not len(self.rows):
            return {}
        table = dim_zero_cat(self.rows).double().cpu().numpy()
        columns = dict(zip(_COLUMNS, table.T, strict=True))
        is_annotated = np.isfinite(columns["nme"])
        has_all_points = np.isfinite(columns["box"][is_annotated]).all()
        face = columns["box"] if has_all_points else CROP_SIZE / 2**0.5
        result: dict[str, float] = {}
        for name in _COLUMNS[3:]:
            errors = columns[name] / face if name in _ANNOTATED else columns[name]
            bins = by_yaw(errors, columns["yaw"])
            figures = dict(zip(BIN_NAMES, bins.bins, strict=True)) | {"mean": bins.mean, "all": bins.sample_mean}
            result |= {f"{name}_{suffix}": value for suffix, value in figures.items() if value == value}
        if n_not_finite := int((columns["is_finite"] == 0).sum()):
            result["not_finite"] = float(n_not_finite)
        return result


@torch.no_grad()
def score_network(net: SynergyNet | LandmarkNet, batches: Iterable[Batch]) -> dict[str, float]:
    """Return the figures of a network on one validation set.

    They are those of `FaceScores`, and those of `train.uncertainty.UncertaintyScores` if the network has such heads.
    """
    net.eval()
    scores, uncertainty_scores = FaceScores(), UncertaintyScores()
    for batch in batches:
        if isinstance(net, LandmarkNet):
            scores.update(batch, predict_stored(net, batch.image))
            continue
        output = net(batch.image)
        scores.update(batch, output)
        if net.uncertainty is not None:
            uncertainty_scores.update(net, batch, output)
    return scores.compute() | (uncertainty_scores.compute() if len(uncertainty_scores.face) else {})


def _box_sizes(points: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return sqrt(w h) of the boxes around points (B, 68, 2); NaN where a point is unknown or the box has no area."""
    has_box = (np.ptp(points, axis=1) > 0).all(-1)
    sizes = np.full(len(points), np.nan)
    sizes[has_box] = box_size(points[has_box])
    return sizes


def _angles_deg(params: Tensor) -> NDArray[np.floating]:
    """Return pitch, yaw and roll (B, 3) in degrees of parameters (B, 12 + S + E)."""
    return torch.rad2deg(matrix_to_euler(decompose_pose(split_pose(params)[0])[1])).numpy()
