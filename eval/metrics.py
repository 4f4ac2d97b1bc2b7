"""Landmark, pose and mesh metrics as pure functions over arrays.

N samples, P points, D = 2 or 3 coordinates in image pixels (`synergy.geometry`; z larger is nearer). Errors come per
sample, (N,), so that means, bins and curves are all taken from the same numbers. Normalised errors are in percent,
angles in degrees. True points that are unknown are NaN and take no part; predictions must be finite.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from synergy.geometry import euler_to_matrix, geodesic_angle
from synergy.landmarks import OUTER_EYE_CORNERS

Floats = NDArray[np.float64]

YAW_EDGES = (30.0, 60.0)  # bins |yaw| in [0, 30], (30, 60], (60, inf)
BIN_NAMES = ("0-30", "30-60", "60-90")
FAILURE_THRESHOLD = 7.0  # percent
POSE_LIMIT_DEG = 99.0  # images with any true angle beyond are dropped from pose errors (Ruiz et al., CVPR-W 2018)


# Distances and what they are divided by.


def point_distances(predicted: ArrayLike, true: ArrayLike) -> Floats:
    """Distances (N, P) of points (N, P, D), NaN where the true point is unknown.

    Raises:
        ValueError: shapes differ, or a prediction of a known point is not finite.
    """
    p, t = np.asarray(predicted, np.float64), np.asarray(true, np.float64)
    if p.shape != t.shape or p.ndim != 3:
        raise ValueError(f"predicted points are {p.shape}, true ones {t.shape}: expected the same (N, P, D)")
    known = np.asarray(np.isfinite(t).all(-1))
    if not np.isfinite(p[known]).all():
        raise ValueError("predicted points are not finite")
    return np.where(known, np.linalg.norm(p - np.where(known[..., None], t, 0), axis=-1), np.nan)


def box_size(points: ArrayLike) -> Floats:
    """sqrt(width * height) (N,) in pixels of the boxes around points (N, P, >= 2), unknown ones left out.

    Raises:
        ValueError: a box without area.
    """
    xy = np.asarray(points, np.float64)[..., :2]
    size = np.sqrt((np.nanmax(xy, -2) - np.nanmin(xy, -2)).prod(-1))
    return _positive(size, "box")


def inter_ocular(points68: ArrayLike) -> Floats:
    """Distance (N,) between the outer eye corners (37 and 46 of 1..68) of points (N, 68, D), in all D dimensions."""
    points = np.asarray(points68, np.float64)
    right, left = OUTER_EYE_CORNERS
    return _positive(np.linalg.norm(points[..., right, :] - points[..., left, :], axis=-1), "distance of the eyes")


def inter_pupil(points68: ArrayLike) -> Floats:
    """Distance (N,) between the centres of the eyes' six points each of points (N, 68, D)."""
    points = np.asarray(points68, np.float64)
    right, left = points[..., 36:42, :].mean(-2), points[..., 42:48, :].mean(-2)
    return _positive(np.linalg.norm(right - left, axis=-1), "distance of the pupils")


def image_size(shape: tuple[int, ...]) -> float:
    """sqrt(width * height) of an image (H, W, ...): the normaliser of the Xception / Wing K-face systems."""
    return float(np.sqrt(shape[0] * shape[1]))


def nme(predicted: ArrayLike, true: ArrayLike, normaliser: ArrayLike, visible: ArrayLike | None = None) -> Floats:
    """Normalised mean errors (N,) in percent: per sample, the mean point distance over its normaliser (N,) or ().

    `visible` (N, P) leaves out further points. A sample without any known visible point is NaN.
    """
    distances = point_distances(predicted, true)
    if visible is not None:
        distances = np.where(np.asarray(visible, bool), distances, np.nan)
    counts = np.isfinite(distances).sum(-1)
    means = np.nansum(distances, -1) / np.where(counts, counts, np.nan)
    return np.asarray(100 * means / np.asarray(normaliser, np.float64))


# Three dimensions (Zhang et al., "Joint Voxel and Coordinate Regression", 2018).


def align_depth(predicted: ArrayLike, true: ArrayLike) -> Floats:
    """Predicted points (N, P, 3), moved in z so that their mean depth is the true one's."""
    p, t = np.array(predicted, np.float64), np.asarray(true, np.float64)
    p[..., 2] += (t[..., 2].mean(-1) - p[..., 2].mean(-1))[..., None]
    return p


def gte(predicted: ArrayLike, true: ArrayLike) -> Floats:
    """Ground truth errors (N,) in percent: mean 3D distance after `align_depth` over the 3D outer eye distance."""
    return nme(align_depth(predicted, true), true, inter_ocular(true))


def nme3d(predicted: ArrayLike, true: ArrayLike) -> Floats:
    """3D errors (N,) in percent: mean 3D distance after `align_depth` over sqrt(w * h) of the true 2D box."""
    return nme(align_depth(predicted, true), true, box_size(true))


def dense_nme(predicted: ArrayLike, true: ArrayLike, normaliser: ArrayLike) -> Floats:
    """Dense errors (N,) in percent of meshes (N, V, 3) in corresponding order, after `align_depth` (PRNet, 2018)."""
    return nme(align_depth(predicted, true), true, normaliser)


def align_similarity(predicted: ArrayLike, true: ArrayLike) -> Floats:
    """Points (N, P, 3) moved onto the true ones by the best rotation, uniform scale and shift (Umeyama, 1991)."""
    p, t = np.asarray(predicted, np.float64), np.asarray(true, np.float64)
    p_mean, t_mean = p.mean(-2, keepdims=True), t.mean(-2, keepdims=True)
    p0, t0 = p - p_mean, t - t_mean
    u, s, vt = np.linalg.svd(np.swapaxes(t0, -1, -2) @ p0)
    sign = np.ones_like(s)
    sign[..., -1] = np.sign(np.linalg.det(u) * np.linalg.det(vt))
    rotation = u * sign[..., None, :] @ vt
    scale = (s * sign).sum(-1) / np.square(p0).sum((-1, -2))
    return np.asarray(scale[..., None, None] * (p0 @ np.swapaxes(rotation, -1, -2)) + t_mean)


def reconstruction_error(predicted: ArrayLike, true: ArrayLike, normaliser: ArrayLike) -> Floats:
    """Shape errors (N,) in percent of meshes (N, V, 3): mean distance after `align_similarity` over `normaliser`."""
    return nme(align_similarity(predicted, true), true, normaliser)


# Head pose.


def pose_errors(predicted_deg: ArrayLike, true_deg: ArrayLike) -> Floats:
    """Absolute errors (N, 3) of pitch, yaw, roll in degrees, the short way round."""
    difference = np.asarray(predicted_deg, np.float64) - np.asarray(true_deg, np.float64)
    return np.abs((difference + 180) % 360 - 180)


def geodesic_errors(predicted_deg: ArrayLike, true_deg: ArrayLike) -> Floats:
    """Angles (N,) in degrees of the rotations between two poses (N, 3) of pitch, yaw, roll in degrees."""
    a, b = (euler_to_matrix(torch.from_numpy(np.radians(np.asarray(x, np.float64)))) for x in (predicted_deg, true_deg))
    return np.asarray(np.degrees(geodesic_angle(a, b).numpy()))


def pose_is_scored(true_deg: ArrayLike) -> NDArray[np.bool_]:
    """Which poses (N, 3) the benchmark keeps: no angle beyond 99 degrees."""
    return np.asarray((np.abs(np.asarray(true_deg)) <= POSE_LIMIT_DEG).all(-1))


# Summaries of per-sample errors.


@dataclass(frozen=True)
class YawBins:
    """Errors by |yaw|.

    Attributes:
        bins: mean error of each bin, NaN for an empty one.
        counts: samples in each bin.
        mean: mean of the bins' means, over the bins that have samples: the benchmark's "mean".
        std: standard deviation of the bins' means (population).
        sample_mean: mean over all samples.
    """

    bins: tuple[float, ...]
    counts: tuple[int, ...]
    mean: float
    std: float
    sample_mean: float


def bin_of_yaw(yaw_deg: ArrayLike) -> NDArray[np.intp]:
    """Bins 0, 1, 2 (N,) of |yaw| in degrees; beyond 90 belongs to the last. The bin of an unknown yaw (NaN) is -1."""
    yaw = np.abs(np.asarray(yaw_deg, np.float64))
    return np.where(np.isfinite(yaw), np.digitize(yaw, YAW_EDGES, right=True), -1)


def by_yaw(errors: ArrayLike, yaw_deg: ArrayLike) -> YawBins:
    """Summary by |yaw| (N,) in degrees of errors (N,); samples whose error is NaN are left out.

    Samples whose yaw is NaN are in no bin; they count in `sample_mean`.
    """
    e, which = np.asarray(errors, np.float64), bin_of_yaw(yaw_deg)
    groups = [e[(which == b) & np.isfinite(e)] for b in range(len(BIN_NAMES))]
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
    """Mean over the samples that have an error; NaN when there are none."""
    e = np.asarray(errors, np.float64)
    e = e[np.isfinite(e)]
    return float(e.mean()) if e.size else float("nan")


def ced(errors: ArrayLike, thresholds: ArrayLike) -> Floats:
    """Cumulative error distribution (T,): the share of errors (N,) at or below each threshold (T,)."""
    e = np.sort(_known(errors))
    return np.searchsorted(e, np.asarray(thresholds, np.float64), side="right") / max(len(e), 1)


def auc(errors: ArrayLike, threshold: float = FAILURE_THRESHOLD) -> float:
    """Area under the cumulative error curve from 0 to the threshold, over the threshold: exact, in 0..1."""
    return float(np.maximum(0, 1 - _known(errors) / threshold).mean())


def failure_rate(errors: ArrayLike, threshold: float = FAILURE_THRESHOLD) -> float:
    """Share of errors (N,) beyond the threshold, in 0..1."""
    return float((_known(errors) > threshold).mean())


# Video.


def jitter(track: ArrayLike, size: ArrayLike) -> float:
    """Jitter of a landmark track (T, P, D) in percent: mean length of second differences over the box size (T,) or ().

    A face that moves evenly has none; one in noise of deviation sigma per coordinate has 3.07 sigma / size in 2D.
    """
    points = np.asarray(track, np.float64)
    if len(points) < 3:
        raise ValueError(f"jitter needs at least 3 frames, got {len(points)}")
    second = np.linalg.norm(points[2:] - 2 * points[1:-1] + points[:-2], axis=-1).mean(-1)
    sizes = np.broadcast_to(np.asarray(size, np.float64), (len(points),))[1:-1]
    return float(100 * (second / sizes).mean())


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
