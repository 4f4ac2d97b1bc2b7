"""Faces that are rotated in the image plane: find their orientation, and crop them upright.

The networks are trained with few faces that are rotated by more than 20 degrees. Beyond 90 degrees their predictions
are useless, and their landmarks do not show it: an upside-down face gets those of an upright one. Predictions for a
crop and for its rotations by 90, 180 and 270 degrees agree, once they are mapped to the same frame, if the face is
rotated by less than 90 degrees in both. The orientation whose prediction agrees best with both its neighbours is
therefore nearest to upright. The face is then cropped upright, by the landmarks and the rotation of that prediction,
and predicted again. docs/journal.md has the measurements.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from synergy.crop import (
    LANDMARK_MARGIN,
    Array,
    compose_affine,
    invert_affine,
    landmark_box,
    square_crop,
    transform_points,
)
from synergy.defaults import MIN_CONFIDENCE
from synergy.engines import CropPredictions, join_predictions
from synergy.errors import UserError
from synergy.geometry import decompose_pose
from synergy.parameters import split_pose

Floats = NDArray[np.float32]
Affines = NDArray[np.float64]
# Predicts crops: indices (N,) of faces, and the affine maps (N, 2, 3) from their images to the crops.
PredictCrops = Callable[[NDArray[np.intp], Affines], CropPredictions[Floats]]

ROLLS = ("auto", "any", "upright")
# Faces that are rotated by more than this, in degrees, are cropped upright.
MAX_UPRIGHT_ROLL_DEG = 20.0
# Of upright faces of HELEN, 95 in 100 have a distance below 0.14, and below 0.25 if rotated by 30 degrees. Of faces
# that are rotated by 60 degrees and more, 95 in 100 have one above 0.29 (docs/journal.md, "In-plane rotation").
MAX_SHAPE_DISTANCE = 0.27


def rotate_image(image: NDArray[np.uint8], degrees: float) -> tuple[NDArray[np.uint8], Affines]:
    """Rotate an image anticlockwise, into a larger one that shows all of it. The rest is black.

    Args:
        image: (H, W, 3) uint8.
        degrees: angle.

    Returns:
        The rotated image, and the affine map (2, 3) from pixels of the image to its pixels.
    """
    height, width = image.shape[:2]
    affine = _rotation(np.array(degrees), 0.0)
    corners = np.array([[0, 0], [width - 1, 0], [0, height - 1], [width - 1, height - 1]], np.float64)
    low, high = np.split(landmark_box(transform_points(affine, corners)).round(6), 2)
    affine[:, 2] -= low
    side = np.ceil(high - low).astype(int) + 1
    rotated = cv2.warpAffine(image, affine, tuple(side.tolist()), flags=cv2.INTER_LINEAR)
    return np.asarray(rotated, np.uint8), affine


def require_roll(roll: str) -> str:
    """Return a name of `ROLLS`.

    Raises:
        UserError: it is none.
    """
    if roll not in ROLLS:
        raise UserError(f"unknown roll '{roll}'; choose from {', '.join(ROLLS)}")
    return roll


def predict_upright(
    predict: PredictCrops,
    affine: Affines,
    points5: Floats,
    size: int,
    margin: float = LANDMARK_MARGIN,
    search_unknown: bool = False,
) -> tuple[Affines, CropPredictions[Floats]]:
    """Predict faces in crops that are upright.

    A face whose detected points have another shape or orientation than the predicted ones (`shape_distance`) is
    predicted in four orientations. The one that agrees best with its neighbours is taken. If its result has a
    low confidence, the others are tried too, and the result with the largest confidence is taken.

    Args:
        predict: predicts crops.
        affine: (N, 2, 3) maps from images to square crops around faces of unknown orientation.
        points5: (N, 5, 2) detected points in image pixels (`synergy.detect.Detection`), NaN where unknown.
        size: side of the crops in pixels.
        margin: side of the crops in units of the longer side of the landmarks' box.
        search_unknown: predict faces whose points are unknown in four orientations too.

    Returns:
        The maps (N, 2, 3) to the crops that were used in the end, and the predictions for these crops.
    """
    affine = affine.copy()
    every = np.arange(len(affine))
    predicted = predict(every, affine).select(every)
    distance = shape_distance(transform_points(affine, points5.astype(np.float64)), predicted.landmarks)
    is_doubtful = (distance > MAX_SHAPE_DISTANCE) | (np.isnan(distance) & search_unknown)
    is_rotated = ~is_doubtful & (np.abs(up_angles(predicted.params)) > MAX_UPRIGHT_ROLL_DEG)
    if len(rows := np.flatnonzero(is_rotated)):
        affine[rows], other = _crop_upright(predict, rows, affine[rows], predicted.select(rows), size, margin)
        _put_rows(predicted, rows, other)
    if len(rows := np.flatnonzero(is_doubtful)):
        affine[rows], other = _search_orientations(predict, rows, affine[rows], predicted.select(rows), size, margin)
        _put_rows(predicted, rows, other)
    return affine, predicted


def _search_orientations(
    predict: PredictCrops, rows: NDArray[np.intp], affine: Affines, predicted: CropPredictions[Floats], size: int,
    margin: float,
) -> tuple[Affines, CropPredictions[Floats]]:  # fmt: skip
    """Predict faces, which have a prediction for one orientation, in the best of four orientations, cropped upright."""
    maps = np.stack([rotate_crop(affine, 90.0 * k, size) for k in range(4)])
    several = [predicted, *(predict(rows, some) for some in maps[1:])]
    points = [transform_points(invert_affine(m), p.landmarks)[..., :2] for m, p in zip(maps, several, strict=True)]
    order, joined = order_orientations(np.stack(points, 1)), join_predictions(several)

    def crop_nth(place: int, faces: NDArray[np.intp]) -> tuple[Affines, CropPredictions[Floats]]:
        k = order[faces, place]
        found, result = maps[k, faces], joined.select(k * len(rows) + faces)
        again = np.flatnonzero((k != 0) | (np.abs(up_angles(result.params)) > MAX_UPRIGHT_ROLL_DEG))
        if len(again):
            chosen = rows[faces[again]]
            found[again], other = _crop_upright(predict, chosen, found[again], result.select(again), size, margin)
            _put_rows(result, again, other)
        return found, result

    affine, best = crop_nth(0, np.arange(len(rows)))
    if best.confidence is None:
        return affine, best
    # Where the best orientation leads to an unlikely face, the others are tried too.
    unlikely = np.flatnonzero(best.confidence < MIN_CONFIDENCE)
    for place in (1, 2, 3):
        found, result = crop_nth(place, unlikely)
        assert result.confidence is not None
        better = np.flatnonzero(result.confidence > best.confidence[unlikely])
        affine[unlikely[better]] = found[better]
        _put_rows(best, unlikely[better], result.select(better))
    return affine, best


def _crop_upright(
    predict: PredictCrops, rows: NDArray[np.intp], affine: Affines, predicted: CropPredictions[Floats], size: int,
    margin: float,
) -> tuple[Affines, CropPredictions[Floats]]:  # fmt: skip
    """Predict rotated faces twice more, because the first upright crop is only as good as the prediction before it."""
    for _ in range(2):
        affine = upright_crops(affine, predicted.landmarks, up_angles(predicted.params), size, margin)
        predicted = predict(rows, affine)
    return affine, predicted


def five_points(landmarks: Array) -> Array:
    """Return eye centres, tip of the nose and corners of the mouth (N, 5, 2) of landmarks (N, 68, 2 or 3)."""
    eyes = [landmarks[:, i : i + 6, :2].mean(1) for i in (36, 42)]
    return np.stack([*eyes, *(landmarks[:, i, :2] for i in (30, 48, 54))], 1)


def tilts(landmarks: Array) -> NDArray[np.float64]:
    """Return by how many degrees faces are rotated in the image plane, from the directions from mouth to eyes.

    Args:
        landmarks: (N, 68, 2 or 3) in image pixels.

    Returns:
        (N,) in -180..180, positive for a head that leans to the image's right.
    """
    points = five_points(landmarks).astype(np.float64)
    up = points[:, :2].mean(1) - points[:, 3:].mean(1)
    return np.asarray(np.degrees(np.arctan2(up[:, 0], -up[:, 1])))


def landmark_crops(landmarks: Array, size: int, margin: float = LANDMARK_MARGIN) -> Affines:
    """Return the maps to crops around known landmarks, upright where the face is rotated too far for upright crops.

    Args:
        landmarks: (N, 68, 2 or 3) in image pixels, NaN where unknown.
        size: side of the crops in pixels.
        margin: side of the crops in units of the longer side of the landmarks' box.

    Returns:
        (N, 2, 3) maps from the image to the crops.

    Example:
        >>> upright = np.zeros((1, 68, 2))
        >>> upright[0, 48:] = [0, 60]  # the mouth is below the eyes
        >>> landmark_crops(upright, 120)[0, :, :2].round(3).tolist()
        [[1.414, 0.0], [0.0, 1.414]]
        >>> lying = upright[..., ::-1]  # the mouth is to the right of the eyes
        >>> landmark_crops(lying, 120)[0, :, :2].round(3).tolist()
        [[0.0, -1.414], [1.414, 0.0]]
    """
    angles = tilts(landmarks)
    # An unknown angle, of landmarks with an unknown point, is NaN and becomes 0 too.
    angles[~(np.abs(angles) > MAX_UPRIGHT_ROLL_DEG)] = 0
    identity = np.repeat(np.eye(2, 3)[None], len(landmarks), 0)
    return upright_crops(identity, landmarks, angles, size, margin)


def shape_distance(points5: Array, landmarks: Array) -> NDArray[np.float64]:
    """Return how much five detected points differ in shape and orientation from 68 predicted landmarks.

    Both are centred, and the detected points are scaled to the size of the others.

    Args:
        points5: (N, 5, 2) in the order of `synergy.detect.Detection`.
        landmarks: (N, 68, 2 or 3), in the same frame.

    Returns:
        (N,) mean distance over the mean distance of the landmarks from their centre.
    """
    own, other = (points - points.mean(1, keepdims=True) for points in (five_points(landmarks), points5))
    scale = (own * other).sum((1, 2)).clip(0) / (other**2).sum((1, 2))
    distance = np.linalg.norm(scale[:, None, None] * other - own, axis=-1).mean(1)
    return np.asarray(distance / np.linalg.norm(own, axis=-1).mean(1), np.float64)


def order_orientations(points: Array) -> NDArray[np.intp]:
    """Order four predictions by how well they agree with their two neighbours, those for crops rotated by 90 degrees.

    Args:
        points: (N, 4, 68, 2) landmarks predicted from four orientations, each rotated by 90 degrees more than the one
            before, in the same frame.

    Returns:
        (N, 4) numbers 0..3, the one that agrees best first.
    """
    distance = np.linalg.norm(points - np.roll(points, 1, axis=1), axis=-1).mean(-1)
    return np.asarray((distance + np.roll(distance, -1, axis=1)).argsort(1, kind="stable"), np.intp)


def up_angles(params: Floats) -> NDArray[np.float64]:
    """Return by how many degrees the head's vertical axis, as the image shows it, is rotated in the crop.

    Args:
        params: (N, 12 + S + E).

    Returns:
        (N,) in -180..180, positive for a head that leans to the image's right. It is the roll of a frontal face.
    """
    rotation = decompose_pose(split_pose(torch.from_numpy(params).double())[0])[1].numpy()
    return np.asarray(np.degrees(np.arctan2(rotation[:, 0, 1], rotation[:, 1, 1])))


def rotate_crop(affine: Affines, degrees: float, size: int) -> Affines:
    """Return the maps (N, 2, 3) to crops that are rotated anticlockwise about their middle.

    Args:
        affine: (N, 2, 3) maps from images to crops.
        degrees: angle.
        size: side of the crops in pixels.
    """
    return np.asarray(compose_affine(_rotation(np.array(degrees), (size - 1) / 2), affine), np.float64)


def upright_crops(
    affine: Affines, landmarks: Array, angles: Array, size: int, margin: float = LANDMARK_MARGIN
) -> Affines:
    """Return the maps to upright crops around faces.

    Args:
        affine: (N, 2, 3) maps from images to the crops in which the faces were predicted.
        landmarks: (N, 68, 2 or 3) in pixels of these crops.
        angles: (N,) rotations of the faces in these crops, in degrees (`up_angles`).
        size: side of the crops in pixels.
        margin: side of the crops in units of the longer side of the landmarks' box.

    Returns:
        (N, 2, 3) maps from images to crops in which the angles are zero, cropped as training faces are.
    """
    rotation = _rotation(np.asarray(angles), 0.0)
    box = landmark_box(transform_points(rotation, landmarks[..., :2].astype(np.float64)))
    return np.asarray(compose_affine(square_crop(box, size, margin), compose_affine(rotation, affine)), np.float64)


def _rotation(degrees: Array, centre: float) -> Affines:
    """Return maps (..., 2, 3) that rotate anticlockwise about the point (centre, centre)."""
    angle = np.radians(degrees)
    c, s = np.cos(angle), np.sin(angle)
    x, y = centre - (c + s) * centre, centre - (c - s) * centre
    return np.stack([np.stack([c, s, x], -1), np.stack([-s, c, y], -1)], -2)


def _put_rows(predicted: CropPredictions[Floats], rows: NDArray[np.intp], other: CropPredictions[Floats]) -> None:
    """Replace rows of predictions in place."""
    for array, values in zip(predicted, other, strict=True):
        if array is not None and values is not None:
            array[rows] = values
