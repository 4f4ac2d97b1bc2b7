"""Metrics over batches: `update` as they come, `compute` once. Thin: all arithmetic is in `eval.metrics`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from eval import metrics
from eval.metrics import Floats
from eval.outcome import summary, summary_by_yaw

Normaliser = Callable[[ArrayLike], Floats]


class LandmarkError:
    """Normalised mean error of 2D points, by yaw where the yaw is given.

    `normaliser` is `metrics.box_size`, `inter_ocular`, `inter_pupil`, or any function of the true points (N, P, 2).
    """

    def __init__(self, normaliser: Normaliser = metrics.box_size) -> None:
        self._normaliser = normaliser
        self._errors: list[Floats] = []
        self._yaw: list[Floats] = []

    def update(
        self,
        predicted: ArrayLike,
        true: ArrayLike,
        visible: ArrayLike | None = None,
        yaw_deg: ArrayLike | None = None,
    ) -> Floats:
        """Add a batch of points (N, P, >= 2), visibility (N, P) and yaw (N,); returns its errors (N,) in percent."""
        p, t = np.asarray(predicted, np.float64)[..., :2], np.asarray(true, np.float64)[..., :2]
        errors = metrics.nme(p, t, self._normaliser(t), visible)
        self._errors.append(errors)
        self._yaw.append(np.full(len(errors), np.nan) if yaw_deg is None else np.asarray(yaw_deg, np.float64))
        return errors

    def compute(self) -> dict[str, Any]:
        """Mean, median, AUC and failure rate at 7 %; bins, their mean and deviation if every batch had its yaw."""
        errors, yaw = np.concatenate(self._errors), np.concatenate(self._yaw)
        return summary(errors) if np.isnan(yaw).any() else summary_by_yaw(errors, yaw)


class DepthError:
    """GTE and 3D NME of 3D points."""

    def __init__(self) -> None:
        self._gte: list[Floats] = []
        self._nme3d: list[Floats] = []

    def update(self, predicted: ArrayLike, true: ArrayLike) -> None:
        """Add a batch of points (N, 68, 3)."""
        self._gte.append(metrics.gte(predicted, true))
        self._nme3d.append(metrics.nme3d(predicted, true))

    def compute(self) -> dict[str, float]:
        """`gte` and `nme3d` in percent."""
        return {
            "gte": metrics.mean_of(np.concatenate(self._gte)),
            "nme3d": metrics.mean_of(np.concatenate(self._nme3d)),
        }


class PoseError:
    """Mean absolute errors of the angles, and the geodesic error, over poses within 99 degrees."""

    def __init__(self) -> None:
        self._absolute: list[Floats] = []
        self._geodesic: list[Floats] = []

    def update(self, predicted_deg: ArrayLike, true_deg: ArrayLike) -> None:
        """Add a batch of poses (N, 3) pitch, yaw, roll in degrees."""
        p, t = np.asarray(predicted_deg, np.float64), np.asarray(true_deg, np.float64)
        kept = metrics.pose_is_scored(t)
        self._absolute.append(metrics.pose_errors(p[kept], t[kept]))
        self._geodesic.append(metrics.geodesic_errors(p[kept], t[kept]))

    def compute(self) -> dict[str, float]:
        """`pitch`, `yaw`, `roll`, `mean` and `geodesic` in degrees, and `count`; NaN when there was no pose."""
        absolute, geodesic = np.concatenate(self._absolute), np.concatenate(self._geodesic)
        pitch, yaw, roll = (metrics.mean_of(column) for column in absolute.T)
        return {
            "pitch": pitch,
            "yaw": yaw,
            "roll": roll,
            "mean": metrics.mean_of(absolute),
            "geodesic": metrics.mean_of(geodesic),
            "count": len(geodesic),
        }
