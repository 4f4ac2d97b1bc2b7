"""Labels from a network's predictions and hand labels, each with the weight that its errors earn."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from train.labels.calibration import Calibration, Frame, yaw_range
from train.labels.fit import Basis, Faces, Fit, Prior, coefficient_prior, fit


def combine(basis: Basis, predicted: Faces, hand: Tensor, calibration: Calibration) -> Fit:
    """The most likely faces given predictions and labels (N, P, 3), both in the image frame, y up; NaN where unknown.

    The prediction's error is a Student t of as many degrees of freedom as parameters: one twice as far off as its
    covariance says keeps 40 % of its weight. Costs and weights in the result are those of the canonical frame; the
    faces are in the image frame.
    """
    frame = Frame.of(predicted)
    canonical = frame.faces(predicted)
    points, precision, index = _evidence(frame, canonical, hand, calibration)
    held = torch.stack([group.held() for group in calibration.groups])[index]
    found = fit(basis, points, precision, Prior(canonical, held, float(held.shape[-1])), iterations=12)
    return replace(found, faces=frame.back(found.faces))


def evidence_only(basis: Basis, hand: Tensor, calibration: Calibration) -> Fit:
    """The most likely faces given hand labels and the model's prior about the calibration's mean face.

    A first fit from several yaws finds the canonical frame, in which the calibration's offsets hold; two more use them.
    """
    guess = Calibration.guess(basis).groups[0]
    found = fit(basis, hand, guess.precision(hand) / _extent(hand).square()[:, None, None, None])
    for _ in range(2):
        frame = Frame.of(found.faces)
        canonical = frame.faces(found.faces)
        points, precision, _ = _evidence(frame, canonical, hand, calibration)
        prior = coefficient_prior(canonical, mean=calibration.coefficients)
        found = fit(basis, points, precision, prior, iterations=12)
        found = replace(found, faces=frame.back(found.faces))
    return found


def residuals(basis: Basis, faces: Faces, hand: Tensor, calibration: Calibration) -> tuple[Tensor, Tensor]:
    """Of labels, less their offsets, to fitted points: distances in face sizes and Mahalanobis distances, both (N, P),
    NaN where unknown. The second is about 1.4 for a label as good as its data set's usual one."""
    frame = Frame.of(faces)
    canonical = frame.faces(faces)
    points, precision, _ = _evidence(frame, canonical, hand, calibration)
    difference = (canonical.points(basis) - points)[..., :2, None]
    squared = difference.mT @ precision[..., :2, :2] @ difference
    return difference[..., 0].norm(dim=-1), squared[..., 0, 0].sqrt()


def _evidence(frame: Frame, canonical: Faces, hand: Tensor, calibration: Calibration) -> tuple[Tensor, Tensor, Tensor]:
    """Canonical hand labels without their offset (N, P, 3), their precision (N, P, 3, 3), the range of yaw (N,)."""
    points, index = frame.points(hand), yaw_range(canonical)
    offsets = torch.stack([group.offset for group in calibration.groups])[index]
    precision = points.new_zeros(*points.shape, 3)
    for i, group in enumerate(calibration.groups):
        precision[index == i] = group.precision(points[index == i])
    return points - torch.nn.functional.pad(offsets, (0, 1)), precision, index


def _extent(hand: Tensor) -> Tensor:
    """(N,) the longer side of the box of the seen points (N, P, 3), a first idea of a face size."""
    seen = hand[..., :2]
    high, low = seen.nan_to_num(nan=-torch.inf).amax(1), seen.nan_to_num(nan=torch.inf).amin(1)
    return (high - low).amax(-1).nan_to_num(neginf=1.0).clamp_min(1e-6)
