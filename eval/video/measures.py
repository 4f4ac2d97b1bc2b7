"""Jitter, lag and switched ids of faces in clips whose motion is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from synergy.crop import invert_affine, transform_points
from synergy.geometry import geodesic_angle
from synergy.tracking.matching import assign

Array = NDArray[np.float64]

# A face belongs to a person if its centre is within this distance in pixels of the person's.
_NEAR = 40.0


def jitter_pixels(landmarks: ArrayLike) -> float:
    """Return the root mean square of the distance that landmarks move from one frame to the next.

    Args:
        landmarks: (T, N, 2 or 3) of a face at rest, in pixels.

    Example:
        >>> jitter_pixels([[[0.0, 0.0]], [[3.0, 4.0]], [[0.0, 0.0]]])
        5.0
    """
    steps = np.diff(np.asarray(landmarks, np.float64)[..., :2], axis=0)
    return float(np.sqrt((steps**2).sum(-1).mean()))


def jitter_degrees(rotations: ArrayLike) -> float:
    """Return the root mean square of the angle between the rotations (T, 3, 3) of successive frames, in degrees."""
    rotation = torch.from_numpy(np.asarray(rotations, np.float64))
    angles = geodesic_angle(rotation[:-1], rotation[1:])
    return float(angles.square().mean().sqrt().rad2deg())


def lag(measured: ArrayLike, true: ArrayLike) -> float:
    """Return by how many frames a measured signal is late.

    It is the least-squares solution of `measured(t) = true(t) - lag * velocity(t) + constant`.

    Args:
        measured: (T, ...).
        true: (T, ...) with a velocity that is not zero everywhere.

    Example:
        >>> true = np.sin(np.arange(60) / 10)
        >>> round(lag(np.sin((np.arange(60) - 2) / 10), true), 1)
        2.0
    """
    measured, true = np.asarray(measured, np.float64), np.asarray(true, np.float64)
    velocity = np.gradient(true, axis=0)
    error = true - measured
    error = error - error.mean(0)
    velocity = velocity - velocity.mean(0)
    return float((error * velocity).sum() / (velocity**2).sum())


def lag_of_motion(landmarks: ArrayLike, motions: ArrayLike) -> float:
    """Return by how many frames landmarks are late in a clip made from a still picture.

    Args:
        landmarks: (T, N, 2 or 3) in pixels of the frames.
        motions: (T, 2, 3) maps from pixels of the picture to those of the frames.
    """
    points = np.asarray(landmarks, np.float64)[..., :2]
    return lag(points, _median_places(points, motions))


def error_of_motion(landmarks: ArrayLike, motions: ArrayLike) -> float:
    """Return the root mean square distance in pixels of landmarks from where the motion takes their median place."""
    points = np.asarray(landmarks, np.float64)[..., :2]
    distance = points - _median_places(points, motions)
    return float(np.sqrt((distance**2).sum(-1).mean()))


def _median_places(points: Array, motions: ArrayLike) -> Array:
    """Return where motions (T, 2, 3) take the median place in the picture of each of the points (T, N, 2)."""
    motion = np.asarray(motions, np.float64)
    in_picture = np.median(transform_points(invert_affine(motion), points), axis=0)
    return transform_points(motion, np.repeat(in_picture[None], len(motion), 0))


def persons(ids: Sequence[Mapping[int, ArrayLike]], centres: ArrayLike) -> list[list[int | None]]:
    """Return which id each person has in each frame.

    Faces and people are paired so that as many as possible are near each other, and then the sum of the distances is
    smallest. A face therefore counts for one person, also while another person next to it has no face.

    Args:
        ids: per frame, the id of each face and its centre (2,) in pixels.
        centres: (T, P, 2) true centres of P people; NaN while a person is covered.

    Returns:
        Per person, the ids in the frames in which the person is in sight; None where no face is near.
    """
    result: list[list[int | None]] = [[] for _ in np.asarray(centres)[0]]
    for faces, people in zip(ids, np.asarray(centres, np.float64), strict=True):
        visible = np.flatnonzero(np.isfinite(people).all(-1))
        places = np.array([*faces.values()], np.float64).reshape(-1, 2)
        distances = np.linalg.norm(people[visible, None] - places, axis=-1)
        pairs = dict(assign(np.where(distances < _NEAR, distances, np.inf)))
        for i, person in enumerate(visible):
            result[person].append([*faces][pairs[i]] if i in pairs else None)
    return result


def count_switches(ids: Sequence[int | None]) -> int:
    """Return how often the id of a person differs from the one that the person had last.

    Args:
        ids: ids of one person, frame by frame; None where no face was found.

    Example:
        >>> count_switches([1, 1, None, 1, 2, 1])
        2
    """
    known = [number for number in ids if number is not None]
    return sum(a != b for a, b in pairwise(known))
