"""From labelled points, and a network's predictions when there are any, to 3D faces with a measure of trust in each."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from train.labels.calibration import Calibration
from train.labels.combine import combine, evidence_only, residuals
from train.labels.fit import Basis, Faces

# A combined fit whose labels lie this many times their usual distance away is tried again from the labels alone.
_RETRY = 2.0
_FEWEST_POINTS = 8


@dataclass(frozen=True)
class Labels:
    """Fitted faces (image frame, y up) and what is known about each of the N.

    Attributes:
        faces: the label.
        n_points: (N,) evidence points seen.
        residual: (N,) mean distance of seen points off the jaw to the fit, % of face size; NaN without any.
        ratio: (N,) root mean square distance of the seen points over their expected one; NaN without any.
        converged: (N,) whether the last step of the fit was small.
        weight: (N,) trust, 0 to 1.
    """

    faces: Faces
    n_points: Tensor
    residual: Tensor
    ratio: Tensor
    converged: Tensor
    weight: Tensor

    def ranking(self) -> Tensor:
        """(N,) indices, the least trusted first; of equals, the one whose points are farthest off."""
        return torch.argsort(self.weight - 1e-3 * self.ratio.nan_to_num().clamp_max(100))


def label(
    basis: Basis,
    hand: Tensor,
    predicted: Faces | None,
    calibration: Calibration,
) -> Labels:
    """Label N faces.

    Args:
        basis: the morphable model at the evidence points.
        hand: (N, P, 3) labels, image pixels, **y up**; NaN where unknown, z NaN for 2D labels.
        predicted: a network's predictions, rows with NaN scale where it has none; or None.
        calibration: of these labels against these predictions.
    """
    faces, converged = _fitted(basis, hand, predicted, calibration)
    distance, ratio = residuals(basis, faces, hand, calibration)
    seen = hand[..., :2].isfinite().all(-1)
    n_points = seen.sum(-1)
    mean_ratio = (ratio.square().nansum(-1) / (2 * n_points)).sqrt()
    inner = torch.where(seen, distance, torch.nan)[:, 17:].nanmean(-1) * 100
    return Labels(faces, n_points, inner, mean_ratio, converged, _weight(mean_ratio, n_points, predicted is not None))


def _fitted(basis: Basis, hand: Tensor, predicted: Faces | None, calibration: Calibration) -> tuple[Faces, Tensor]:
    """Faces and convergence: combined where there is a prediction that the labels do not refute, else labels alone."""
    if predicted is None:
        alone = evidence_only(basis, hand, calibration)
        return alone.faces, alone.converged
    has = predicted.log_scale.isfinite()
    n_points = hand[..., :2].isfinite().all(-1).sum(-1)
    safe = Faces(*(torch.nan_to_num(array) for array in vars(predicted).values()))
    safe = replace(safe, rotation=torch.where(has[:, None, None], safe.rotation, torch.eye(3, dtype=torch.float64)))
    both = combine(basis, safe, hand, calibration)
    faces, converged = both.faces, both.converged
    ratio = _rms(residuals(basis, faces, hand, calibration)[1])
    again = ((~has) | (ratio > _RETRY)) & (n_points >= _FEWEST_POINTS)
    if again.any():
        alone = evidence_only(basis, hand[again], calibration)
        better = (_rms(residuals(basis, alone.faces, hand[again], calibration)[1]) < ratio[again]) | ~has[again]
        index = again.nonzero()[:, 0][better]
        faces = Faces(*(mine.index_copy(0, index, theirs[better]) for mine, theirs in _pairs(faces, alone.faces)))
        converged = converged.index_copy(0, index, alone.converged[better])
    return faces, converged


def _pairs(a: Faces, b: Faces) -> list[tuple[Tensor, Tensor]]:
    return list(zip(vars(a).values(), vars(b).values(), strict=True))


def _rms(ratio: Tensor) -> Tensor:
    return (ratio.square().nanmean(-1) / 2).sqrt().nan_to_num()


def _weight(ratio: Tensor, n_points: Tensor, predicted: bool) -> Tensor:
    """Full up to 1.25 times the expected distance, then falling; less for a face that few points speak for."""
    weight = 1 / (1 + ((ratio.nan_to_num() - 1.25).clamp_min(0) / 0.75).square())
    few = n_points < _FEWEST_POINTS
    return torch.where(few, weight * (0.5 if predicted else 0.0), weight) * (ratio.nan_to_num() < 6)
