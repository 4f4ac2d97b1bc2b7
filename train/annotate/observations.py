"""Read the landmark annotations of a data set: 68 iBUG points, AFLW's 21 points, or both.

One face has 89 observed points: the 68 iBUG points, then AFLW's 21 in AFLW's order. Each AFLW point is modelled as a
mean of iBUG points. Where the two do not mean the same position (brow centres, nostrils, ear lobes), the difference is
part of the annotation bias, which `train.annotate.calibration` estimates.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bfm_assets.schema import MorphableModel
from synergy.data import FaceReader
from synergy.data.annotated_crops import ATTRIBUTES
from synergy.data.reader import SampleError
from synergy.data.sample import FaceSample
from synergy.errors import UserError
from synergy.geometry import flip_y
from synergy.shards import ALL, Shard

N_OBSERVED = 68 + 21

# AFLW's 21 points in its order, image left first, as means of 0-based iBUG points.
AFLW21 = (
    (17,), (19,), (21,), (22,), (24,), (26,),
    (36,), (36, 37, 38, 39, 40, 41), (39,), (42,), (42, 43, 44, 45, 46, 47), (45,),
    (0,), (31,), (30,), (35,), (16,),
    (48,), (62, 66), (54,), (8,),
)  # fmt: skip

# Bounds of `point_order_warnings`, checked in its tests on projected faces. An affine map of the mean face explains the
# points of a real face to within 0.2 of their spread, and leaves about 0.9 of a random order.
_SHUFFLED_RESIDUAL = 0.5
_MIRRORED_COSINE = -0.3
_FEWEST_POINTS = 12
_WARN_FRACTION = 0.02


@dataclass(frozen=True)
class Observations:
    """The annotations of N faces, without their images.

    Attributes:
        reader: reader of the images.
        indices: (N,) index of each face in the reader.
        names: N names.
        points: (N, 89, 3) annotations in image pixels, **y up** as in the solver; NaN where unknown, z NaN for 2D
            annotations.
        visibility: (N, 68) int8 of `synergy.data.sample`.
        boxes: (N, 4) box whose square crop is the training crop, for readers of cropped images; otherwise NaN.
        identity: (N,) number of the person within the data set, -1 where unknown.
        attributes: (N, A) int8 values of `synergy.data.annotated_crops.ATTRIBUTES`, -1 where unknown.
    """

    reader: FaceReader
    indices: NDArray[np.int64]
    names: list[str]
    points: NDArray[np.float64]
    visibility: NDArray[np.int8]
    boxes: NDArray[np.float64]
    identity: NDArray[np.int32]
    attributes: NDArray[np.int8]

    def __len__(self) -> int:
        return len(self.names)


def observation_matrix() -> Tensor:
    """Return the weights (89, 68) of the landmarks in each observed point."""
    matrix = torch.zeros(N_OBSERVED, 68, dtype=torch.float64)
    matrix[:68] = torch.eye(68, dtype=torch.float64)
    for row, indices in enumerate(AFLW21):
        matrix[68 + row, list(indices)] = 1 / len(indices)
    return matrix


def read_observations(reader: FaceReader, limit: int | None = None, shard: Shard = ALL) -> Observations:
    """Read all annotations of a data set, or those of its first `limit` faces.

    Args:
        reader: the data set.
        limit: only the first so many faces.
        shard: of these, only the faces whose names belong to this part.

    Returns:
        The annotations, without those of broken files, which are listed in `reader.problems`.

    Raises:
        UserError: no face is readable.
    """
    indices: list[int] = []
    samples: list[FaceSample] = []
    for i, name in enumerate(reader.names[:limit]):
        if name not in shard:
            continue
        try:
            samples.append(reader.read(i, image=False))
        except SampleError as error:
            reader.skip(name, str(error))
            continue
        indices.append(i)
    if not samples:
        raise UserError(f"{reader.tree.path}: no readable face in it ({len(reader.problems)} broken)")
    boxes = [s.box if reader.is_cropped and s.box is not None else np.full(4, np.nan) for s in samples]
    return Observations(
        reader,
        np.array(indices),
        [s.name for s in samples],
        flip_y(np.stack([_observed_points(s) for s in samples])),
        np.stack([s.visibility68 for s in samples]),
        np.stack(boxes),
        np.array([s.identity for s in samples], np.int32),
        np.array([[s.attributes.get(name, -1) for name in ATTRIBUTES] for s in samples], np.int8),
    )


def _observed_points(sample: FaceSample) -> NDArray[np.float64]:
    """Return the observed points (89, 3) of a sample in image pixels, y down; NaN where unknown."""
    points = np.full((N_OBSERVED, 3), np.nan)
    points[:68, : sample.landmarks68.shape[1]] = sample.landmarks68
    if sample.points21 is not None:
        points[68:, :2] = sample.points21
    return points


def point_order_warnings(points: NDArray[np.floating], model: MorphableModel) -> list[str]:
    """Return one line for each likely error in the point order of a data set.

    The points of any face are close to an affine map of the mean 3D face. Points of a mirrored image that were not
    renumbered fit as well, but only as a face seen from behind. Points in another order do not fit.

    Args:
        points: (N, 68, 2) image points, y up; NaN where unknown.
        model: any morphable model.
    """
    residual, behind = affine_residual(points, model.mean[model.landmarks])
    judged = np.isfinite(residual)
    shuffled = judged & (residual > _SHUFFLED_RESIDUAL)
    mirrored = judged & behind & (residual < _SHUFFLED_RESIDUAL / 2)
    return [
        f"the points of {rows.sum()} of {judged.sum()} faces {problem}"
        for rows, problem in (
            (mirrored, "look mirrored: were the images flipped without renumbering the points (see FLIP68)?"),
            (shuffled, "do not look like a face: are the points in iBUG's order of 68?"),
        )
        if rows.sum() > _WARN_FRACTION * judged.sum()
    ]


def affine_residual(
    points: NDArray[np.floating], mean: NDArray[np.floating]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Fit an affine map of the mean face to the points of each face.

    Args:
        points: (N, 68, 2), y up; NaN where unknown.
        mean: (68, 3).

    Returns:
        Residual (N,) relative to the spread of the points, NaN for fewer than 12 known points; and whether (N,) the
        map shows the face from behind.
    """
    residual, behind = np.full(len(points), np.nan), np.zeros(len(points), bool)
    design = np.concatenate([mean - mean.mean(0), np.ones((len(mean), 1))], 1) / [*[np.abs(mean).max()] * 3, 1]
    for i, face in enumerate(points):
        known = np.isfinite(face).all(-1)
        if known.sum() < _FEWEST_POINTS:
            continue
        target = face[known].astype(np.float64)
        solution = np.linalg.lstsq(design[known], target, rcond=None)[0]
        spread = np.linalg.norm(target - target.mean(0))
        residual[i] = np.linalg.norm(design[known] @ solution - target) / (spread + 1e-12)
        towards_camera = np.cross(*solution[:3].T)
        behind[i] = towards_camera[2] < _MIRRORED_COSINE * np.linalg.norm(towards_camera)
    return residual, behind
