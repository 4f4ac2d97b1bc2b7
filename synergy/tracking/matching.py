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

Array = NDArray[np.float64]

# Side in pixels of the thumbnail whose colours describe a face.
_THUMBNAIL = 8
# Median distance between two frames of different people: of the shape coefficients in units of their standard
# deviations, and of the normalised colours. Measured on 50 people of YouTube Faces (docs/journal.md).
_SHAPE_UNIT = 0.28
_COLOUR_UNIT = 0.87
# The largest cost of an assignment. The unit is one face size of distance.
_MAX_COST = 2.0
# Weight of the difference in identity, and of the logarithm of the ratio of sizes.
_IDENTITY = 0.8
_SIZE = 1.0
# By how much a second without observation makes the position of a track uncertain, in face sizes.
_SPREAD = 1.5


class Identity(NamedTuple):
    """What tells a face from another one.

    Attributes:
        shape: (S,) shape coefficients in units of their standard deviations.
        colours: (8 * 8 * 3,) colours of a thumbnail, with zero mean and unit variance.
    """

    shape: Array
    colours: Array

    def distance(self, other: Identity) -> float:
        """Return the difference between two faces: about 1 for different people, less for the same one."""
        shape = np.sqrt(np.mean((self.shape - other.shape) ** 2)) / _SHAPE_UNIT
        colours = np.sqrt(np.mean((self.colours - other.colours) ** 2)) / _COLOUR_UNIT
        return float(shape + colours) / 2

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
    thumbnail = warp(image, square_crop(landmark_box(face.landmarks68), _THUMBNAIL, margin=1.0), _THUMBNAIL)
    colours = thumbnail.astype(np.float64).ravel()
    return Identity(shape.astype(np.float64), (colours - colours.mean()) / max(colours.std(), 1.0))


def overlap(a: NDArray[np.floating], b: NDArray[np.floating]) -> Array:
    """Return the intersection over union (N, M) of boxes (N, 4) and (M, 4)."""
    a, b = np.asarray(a, np.float64).reshape(-1, 1, 4), np.asarray(b, np.float64).reshape(1, -1, 4)
    sides = (np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])).clip(0)
    area = sides.prod(-1)
    return np.asarray(area / ((a[..., 2:] - a[..., :2]).prod(-1) + (b[..., 2:] - b[..., :2]).prod(-1) - area))


class Expectation(NamedTuple):
    """Where a track is expected, and how it looks.

    Attributes:
        centre: (2,) expected centre of the landmarks in image pixels.
        size: face size in image pixels (`synergy.tracking.smoothing.face_size`).
        identity: what the track looked like.
        seconds: time since the track was seen.
    """

    centre: Array
    size: float
    identity: Identity
    seconds: float


def cost(expected: Expectation, face: Face, identity: Identity) -> float:
    """Return the cost of giving a face to a track, in units of one face size of distance.

    Args:
        expected: where the track is expected.
        face: the face.
        identity: of the face.

    Returns:
        The cost; infinite where it is too high for an assignment.
    """
    distance = np.linalg.norm(face.landmarks68[:, :2].mean(0) - expected.centre) / expected.size
    distance /= 1 + _SPREAD * expected.seconds
    size = abs(np.log(face_size(face) / expected.size))
    total = float(distance + _SIZE * size + _IDENTITY * expected.identity.distance(identity))
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
