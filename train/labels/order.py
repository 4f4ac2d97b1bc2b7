"""Signs that landmarks come in another order than iBUG's: mirrored without being renumbered, or shuffled.

Any face's 68 points, whatever the pose, are close to an affine map of the mean 3D face (8 numbers against 136). A
mirrored order fits as well, but only as a face seen from behind; a shuffled one does not fit.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bfm_assets.schema import MorphableModel

# Residual of the affine map, in units of the points' spread, above which an order is taken as shuffled: real faces
# stay below 0.2 with every expression, a random order gives about 0.9.
_SHUFFLED = 0.5
# Cosine between the face's forward axis and the camera's below which (negative) a face is seen from behind.
_FACING = 0.3
_WORTH_A_WARNING = 0.02


def affine_residual(
    points: NDArray[np.floating], mean: NDArray[np.floating]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Relative residual (N,) of points (N, 68, 2), y down, to the best affine map of `mean` (68, 3), y up; and whether
    (N,) that map looks at the face from behind. NaN points are left out; NaN for fewer than 12."""
    residual, behind = np.full(len(points), np.nan), np.zeros(len(points), bool)
    design = np.concatenate([mean - mean.mean(0), np.ones((len(mean), 1))], 1) / [*[np.abs(mean).max()] * 3, 1]
    for i, face in enumerate(points):
        seen = np.isfinite(face).all(-1)
        if seen.sum() < 12:
            continue
        target = face[seen].astype(np.float64)
        solution = np.linalg.lstsq(design[seen], target, rcond=None)[0]
        spread = np.linalg.norm(target - target.mean(0))
        residual[i] = np.linalg.norm(design[seen] @ solution - target) / (spread + 1e-12)
        rows = solution[:3].T * [[1.0], [-1.0]]
        towards_camera = np.cross(rows[0], rows[1])
        behind[i] = towards_camera[2] < -_FACING * np.linalg.norm(towards_camera)
    return residual, behind


def order_warnings(points: NDArray[np.floating], model: MorphableModel) -> list[str]:
    """One line for each likely fault of the point order of a data set (N, 68, 2)."""
    residual, behind = affine_residual(points, model.mean[model.landmarks])
    judged = np.isfinite(residual)
    if not judged.any():
        return []
    shuffled = judged & (residual > _SHUFFLED)
    mirrored = judged & ~shuffled & behind & (residual < _SHUFFLED / 2)
    lines = []
    for found, what in (
        (mirrored, "look mirrored: were the images flipped without renumbering the points (see FLIP68)?"),
        (shuffled, "do not look like a face: are the points in iBUG's order of 68?"),
    ):
        if found.sum() > _WORTH_A_WARNING * judged.sum():
            lines.append(f"{found.sum()} of {judged.sum()} faces' points {what}")
    return lines
