"""Which track a detected face belongs to: costs from position, size and identity, and their assignment."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from synergy.crop import landmark_box, square_crop, warp
from synergy.face import Face
from synergy.parameters import split_parameters
from synergy.tracking.smoothing import face_size
from synergy.upright import tilts

Array = NDArray[np.float64]

# Sides in pixels of the thumbnails whose colours and edges describe a face.
_COLOUR_SIDE = 8
_EDGE_SIDE = 16
# Width of the thumbnail for the edges, in units of the root mean square distance of the landmarks from their centre.
_EDGE_WIDTH = 2.4
# Median distance between two frames of different people: of the shape coefficients in units of their standard
# deviations, of the normalised colours, and of the normalised edges. Measured on people of YouTube Faces
# (docs/journal.md).
_SHAPE_UNIT = 0.28
_COLOUR_UNIT = 0.87
_EDGE_UNIT = 1.23
# The largest cost of an assignment. The unit is one face size of distance.
_MAX_COST = 2.0
# Weight of the difference in identity, and of the logarithm of the ratio of sizes.
_IDENTITY = 0.8
_SIZE = 1.0
# Factor of both where another face may cover a part of the face.
_COVERED = 0.4
# By how much a second without observation makes the position of a track uncertain, in face sizes.
_SPREAD = 1.5


class Identity(NamedTuple):
    """What distinguishes one face from another.

    Attributes:
        shape: (S,) shape coefficients in units of their standard deviations.
        colours: (8 * 8 * 3,) colours of a thumbnail, with zero mean and unit variance.
        edges: (2 * 16 * 16,) gradients of the brightness of a thumbnail that is rotated with the face, with zero mean
            and unit variance.
    """

    shape: Array
    colours: Array
    edges: Array

    def distance(self, other: Identity) -> float:
        """Return the difference between two faces: about 1 for different people, less for the same one."""
        differences = [np.sqrt(np.mean((a - b) ** 2)) for a, b in zip(self, other, strict=True)]
        return float(np.mean(np.divide(differences, (_SHAPE_UNIT, _COLOUR_UNIT, _EDGE_UNIT))))

    def towards(self, other: Identity, gain: float) -> Identity:
        """Return the identity after a step of `gain` in 0..1 towards another one."""
        return Identity(*(a + gain * (b - a) for a, b in zip(self, other, strict=True)))


def identity_of(image: NDArray[np.uint8], face: Face) -> Identity:
    """Describe the identity of a face.

    Args:
        image: (H, W, 3) uint8 RGB.
        face: a face of the image.
    """
    shape = split_parameters(face.params, face.morphable_model.n_shape)[1] / face.morphable_model.shape_std
    colours = warp(image, square_crop(landmark_box(face.landmarks68), _COLOUR_SIDE, margin=1.0), _COLOUR_SIDE)
    points = face.landmarks68[:, :2].astype(np.float64)
    centre = points.mean(0)
    scale = _EDGE_SIDE / (_EDGE_WIDTH * np.sqrt(((points - centre) ** 2).sum(1).mean()))
    angle = np.radians(tilts(points[None])[0])
    rotation = scale * np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    aligned = np.concatenate([rotation, ((_EDGE_SIDE - 1) / 2 - rotation @ centre)[:, None]], 1)
    brightness = warp(image, aligned, _EDGE_SIDE).mean(-1)
    return Identity(shape.astype(np.float64), _normalised(colours), _normalised(np.stack(np.gradient(brightness))))


def _normalised(values: NDArray[np.generic]) -> Array:
    """Return values in one row with zero mean and unit variance."""
    row = values.astype(np.float64).ravel()
    return np.asarray((row - row.mean()) / max(row.std(), 1.0))


def overlap(a: NDArray[np.floating], b: NDArray[np.floating]) -> Array:
    """Return the intersection over union (N, M) of boxes (N, 4) and (M, 4)."""
    a, b = np.asarray(a, np.float64).reshape(-1, 1, 4), np.asarray(b, np.float64).reshape(1, -1, 4)
    sides = (np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])).clip(0)
    area = sides.prod(-1)
    return np.asarray(area / ((a[..., 2:] - a[..., :2]).prod(-1) + (b[..., 2:] - b[..., :2]).prod(-1) - area))


class Expectation(NamedTuple):
    """Where a track is expected, and how it looks.

    Attributes:
        centres: (N, 2) places in image pixels at which the centre of the landmarks is expected. The nearest one counts.
        size: face size in image pixels (`synergy.tracking.smoothing.face_size`).
        identity: what the track looked like.
        seconds: time since the track was seen.
    """

    centres: Array
    size: float
    identity: Identity
    seconds: float


def cost(expected: Expectation, face: Face, identity: Identity, is_covered: bool = False) -> float:
    """Return the cost of giving a face to a track, in units of one face size of distance.

    Args:
        expected: where the track is expected.
        face: the face.
        identity: of the face.
        is_covered: whether another face may cover a part of this one. Size and identity then count less, because
            predictions for a partly covered face are wrong.

    Returns:
        The cost; infinite where it is too high for an assignment.
    """
    offsets = face.landmarks68[:, :2].mean(0) - expected.centres
    distance = np.linalg.norm(offsets, axis=1).min() / expected.size
    distance /= 1 + _SPREAD * expected.seconds
    looks = _SIZE * abs(np.log(face_size(face) / expected.size)) + _IDENTITY * expected.identity.distance(identity)
    total = float(distance + (_COVERED if is_covered else 1.0) * looks)
    return total if total < _MAX_COST else np.inf


def assign(costs: Array) -> list[tuple[int, int]]:
    """Choose pairs of rows and columns so that their number is largest and then the sum of their costs is smallest.

    Args:
        costs: (N, M); infinite where a pair is not possible.

    Returns:
        Pairs of row and column. Each row and each column is in at most one pair.

    Example:
        >>> assign(np.array([[0.1, 0.2], [0.2, 1.5]]))
        [(0, 1), (1, 0)]
        >>> assign(np.array([[0.5], [np.inf]]))
        [(0, 0)]
    """
    costs = np.asarray(costs, np.float64)
    possible = np.isfinite(costs)
    # A pair that is not possible costs more than all possible ones together.
    penalty = 1.0 + costs[possible].sum()
    rows, columns = linear_sum_assignment(np.where(possible, costs, penalty))
    return [(int(i), int(j)) for i, j in zip(rows, columns, strict=True) if possible[i, j]]
