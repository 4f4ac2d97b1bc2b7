"""Landmark, pose and mesh metrics as pure functions over arrays.

Shapes: N samples, P points, V vertices, D = 2 or 3 coordinates. Points are in image pixels, larger z is nearer to the
camera (`synergy.geometry`). Every metric returns one error per sample, (N,), and means, bins and curves are computed
from these. Normalised errors are in percent, angles in degrees. Unknown true points are NaN and are left out. Errors
after an alignment (`gte`, `nme3d` and those of meshes) need all true points. Predictions must be finite.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from bfm_assets.fit import similarity
from synergy.crop import landmark_box
from synergy.geometry import euler_to_matrix, geodesic_angle
from synergy.landmarks import OUTER_EYE_CORNERS

Floats = NDArray[np.float64]

YAW_EDGES = (30.0, 60.0)  # bins |yaw| in [0, 30], (30, 60], (60, inf)
BIN_NAMES = ("0-30", "30-60", "60-90")
FAILURE_THRESHOLD = 7.0  # percent
POSE_LIMIT_DEG = 99.0  # images with a true angle beyond this are left out of pose errors (Ruiz et al., CVPR-W 2018)


# Distances and normalisers.


def point_distances(predicted: ArrayLike, true: ArrayLike) -> Floats:
    """Compute the distance of each predicted point to the true one.

    Args:
        predicted: (N, P, D).
        true: (N, P, D), NaN where unknown.

    Returns:
        (N, P) distances, NaN where the true point is unknown.

    Raises:
        ValueError: the shapes differ, or the prediction of a known point is not finite.
    """
    p, t = np.asarray(predicted, np.float64), np.asarray(true, np.float64)
    if p.shape != t.shape or p.ndim != 3:
        raise ValueError(f"predicted points are {p.shape}, true ones {t.shape}: expected the same (N, P, D)")
    known = np.asarray(np.isfinite(t).all(-1))
    if not np.isfinite(p[known]).all():
        raise ValueError("predicted points are not finite")
    return np.where(known, np.linalg.norm(p - np.where(known[..., None], t, 0), axis=-1), np.nan)


def box_size(points: ArrayLike) -> Floats:
    """Compute the size of the bounding boxes of points.

    Args:
        points: (N, P, 2 or 3), NaN where unknown.

    Returns:
        (N,) sqrt(width * height) in pixels.

    Raises:
        ValueError: a box has no area.
    """
    box = landmark_box(np.asarray(points, np.float64))
    return _positive(np.sqrt((box[..., 2:] - box[..., :2]).prod(-1)), "box")


def inter_ocular(points68: ArrayLike) -> Floats:
    """Compute the distance of the outer eye corners (points 37 and 46, counted from 1).

    Args:
        points68: (N, 68, D).

    Returns:
        (N,) distances in all D dimensions.

    Raises:
        ValueError: a distance is zero.
    """
    points = np.asarray(points68, np.float64)
    right, left = OUTER_EYE_CORNERS
    return _positive(np.linalg.norm(points[..., right, :] - points[..., left, :], axis=-1), "distance of the eyes")


def inter_pupil(points68: ArrayLike) -> Floats:
    """Compute the distance of the eye centres, each the mean of the six points of the eye.

    Args:
        points68: (N, 68, D).

    Returns:
        (N,) distances in all D dimensions.

    Raises:
        ValueError: a distance is zero.
    """
    points = np.asarray(points68, np.float64)
    right, left = points[..., 36:42, :].mean(-2), points[..., 42:48, :].mean(-2)
    return _positive(np.linalg.norm(right - left, axis=-1), "distance of the pupils")


def nme(predicted: ArrayLike, true: ArrayLike, normaliser: ArrayLike) -> Floats:
    """Compute the normalised mean error: the mean point distance of a sample divided by a size of its face.

    Args:
        predicted: (N, P, D).
        true: (N, P, D), NaN where unknown.
        normaliser: (N,) or () in pixels, for example `box_size(true)` or `inter_ocular(true)`.

    Returns:
        (N,) in percent, NaN for a sample without any known point.

    Example:
        >>> true = np.zeros((1, 68, 2))
        >>> nme(true + [3, 4], true, 100.0)
        array([5.])
    """
    distances = point_distances(predicted, true)
    counts = np.isfinite(distances).sum(-1)
    means = np.nansum(distances, -1) / np.where(counts, counts, np.nan)
    return np.asarray(100 * means / np.asarray(normaliser, np.float64))


# Three-dimensional errors (Zhang et al., "Joint Voxel and Coordinate Regression", 2018).


def align_depth(predicted: ArrayLike, true: ArrayLike) -> Floats:
    """Move predicted points (N, P, 3) in z, so that their mean depth is that of the true points (N, P, 3)."""
    p, t = np.array(predicted, np.float64), np.asarray(true, np.float64)
    p[..., 2] += (t[..., 2].mean(-1) - p[..., 2].mean(-1))[..., None]
    return p


def gte(predicted: ArrayLike, true: ArrayLike) -> Floats:
    """Compute JVCR's ground truth error (GTE).

    Args:
        predicted: (N, 68, 3).
        true: (N, 68, 3).

    Returns:
        (N,) mean 3D distance after `align_depth`, divided by the 3D distance of the outer eye corners, in percent.
    """
    return nme(align_depth(predicted, true), true, inter_ocular(true))


def nme3d(predicted: ArrayLike, true: ArrayLike) -> Floats:
    """Compute the 3D normalised mean error.

    Args:
        predicted: (N, P, 3).
        true: (N, P, 3).

    Returns:
        (N,) mean 3D distance after `align_depth`, divided by sqrt(width * height) of the true 2D box, in percent.
    """
    return nme(align_depth(predicted, true), true, box_size(true))


def dense_nme(predicted: ArrayLike, true: ArrayLike, normaliser: ArrayLike) -> Floats:
    """Compute the dense error of meshes after `align_depth` (Feng et al., PRNet, ECCV 2018).

    Args:
        predicted: (N, V, 3).
        true: (N, V, 3) with the same vertices.
        normaliser: (N,) or () in pixels.

    Returns:
        (N,) in percent.
    """
    return nme(align_depth(predicted, true), true, normaliser)


def reconstruction_error(predicted: ArrayLike, true: ArrayLike, normaliser: ArrayLike) -> Floats:
    """Compute the shape error of meshes after the best rotation, uniform scale and translation (Umeyama, 1991).

    Args:
        predicted: (N, V, 3).
        true: (N, V, 3) with the same vertices.
        normaliser: (N,) or () in pixels.

    Returns:
        (N,) in percent.
    """
    p, t = np.asarray(predicted, np.float64), np.asarray(true, np.float64)
    scale, rotation, translation = similarity(p, t)
    aligned = scale[:, None, None] * p @ rotation.swapaxes(1, 2) + translation[:, None]
    return nme(aligned, t, normaliser)


# Head pose.


def pose_errors(predicted_deg: ArrayLike, true_deg: ArrayLike) -> Floats:
    """Compute the absolute errors of pitch, yaw and roll, at most 180 degrees each.

    Args:
        predicted_deg: (N, 3) in degrees.
        true_deg: (N, 3) in degrees.

    Returns:
        (N, 3) in degrees.
    """
    difference = np.asarray(predicted_deg, np.float64) - np.asarray(true_deg, np.float64)
    return np.abs((difference + 180) % 360 - 180)


def geodesic_errors(predicted_deg: ArrayLike, true_deg: ArrayLike) -> Floats:
    """Compute the angle of the rotation between two poses.

    Args:
        predicted_deg: (N, 3) pitch, yaw and roll in degrees.
        true_deg: (N, 3) pitch, yaw and roll in degrees.

    Returns:
        (N,) in degrees.
    """
    a, b = (euler_to_matrix(torch.from_numpy(np.radians(np.asarray(x, np.float64)))) for x in (predicted_deg, true_deg))
    return np.asarray(np.degrees(geodesic_angle(a, b).numpy()))


def pose_is_scored(true_deg: ArrayLike) -> NDArray[np.bool_]:
    """Return which poses (N, 3) in degrees the benchmark scores: those without an angle beyond 99 degrees."""
    return np.asarray((np.abs(np.asarray(true_deg)) <= POSE_LIMIT_DEG).all(-1))


# Summaries of per-sample errors.


@dataclass(frozen=True)
class YawBins:
    """Errors by |yaw|.

    Attributes:
        bins: mean error of each bin, NaN for an empty one.
        counts: number of samples in each bin.
        mean: mean of the bins' means, over the bins that have samples: the benchmark's "mean".
        std: standard deviation of the bins' means (of the population).
        sample_mean: mean over all samples.
    """

    bins: tuple[float, ...]
    counts: tuple[int, ...]
    mean: float
    std: float
    sample_mean: float


def by_yaw(errors: ArrayLike, yaw_deg: ArrayLike) -> YawBins:
    """Summarise errors by |yaw|. A |yaw| beyond 90 degrees belongs to the last bin.

    Args:
        errors: (N,). Samples whose error is NaN are left out.
        yaw_deg: (N,) in degrees. Samples whose yaw is NaN are in no bin, but in `sample_mean`.

    Example:
        >>> by_yaw([1.0, 3.0, 8.0], [0.0, -30.0, 45.0]).bins
        (2.0, 8.0, nan)
    """
    e = np.asarray(errors, np.float64)
    yaw = np.abs(np.asarray(yaw_deg, np.float64))
    bin_index = np.where(np.isfinite(yaw), np.digitize(yaw, YAW_EDGES, right=True), -1)
    groups = [e[(bin_index == b) & np.isfinite(e)] for b in range(len(BIN_NAMES))]
    means = [float(group.mean()) if group.size else float("nan") for group in groups]
    present = [mean for mean in means if mean == mean]
    return YawBins(
        bins=tuple(means),
        counts=tuple(group.size for group in groups),
        mean=float(np.mean(present)) if present else float("nan"),
        std=float(np.std(present)) if present else float("nan"),
        sample_mean=mean_of(e),
    )


def mean_of(errors: ArrayLike) -> float:
    """Compute the mean of the errors that are not NaN; NaN when there are none."""
    e = np.asarray(errors, np.float64)
    e = e[np.isfinite(e)]
    return float(e.mean()) if e.size else float("nan")


def ced(errors: ArrayLike, thresholds: ArrayLike) -> Floats:
    """Compute the cumulative error distribution.

    Args:
        errors: (N,), NaN where unknown.
        thresholds: (T,).

    Returns:
        (T,) fraction of the errors at or below each threshold.

    Raises:
        ValueError: there is no known error.
    """
    e = np.sort(_known(errors))
    return np.searchsorted(e, np.asarray(thresholds, np.float64), side="right") / len(e)


def auc(errors: ArrayLike, threshold: float = FAILURE_THRESHOLD) -> float:
    """Compute the exact area under `ced` between 0 and the threshold, divided by the threshold; in 0..1."""
    return float(np.maximum(0, 1 - _known(errors) / threshold).mean())


def failure_rate(errors: ArrayLike, threshold: float = FAILURE_THRESHOLD) -> float:
    """Compute the fraction of errors (N,) beyond the threshold, in 0..1."""
    return float((_known(errors) > threshold).mean())


def _known(errors: ArrayLike) -> Floats:
    e = np.asarray(errors, np.float64)
    e = e[np.isfinite(e)]
    if not e.size:
        raise ValueError("there are no errors to summarise")
    return e


def _positive(size: Floats, what: str) -> Floats:
    if (bad := ~(size > 0)).any():
        raise ValueError(f"the true {what} of sample {int(np.argmax(bad))} is {np.ravel(size)[np.argmax(bad)]:g}")
    return np.asarray(size)
