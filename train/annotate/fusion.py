"""Fuse annotations and predictions into one MAP estimate per face (inverse-covariance weighting)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from train.annotate.calibration import Calibration, CanonicalFrame, ErrorModel
from train.annotate.faces import FaceParameters, PointModel, RowWise
from train.annotate.solver import Fit, Prior, fit

# A fused fit whose annotations lie at more than this many times their usual distance is fitted again without its
# prediction, if at least this many points are annotated.
_RETRY_RATIO, _FEWEST_POINTS = 2.0, 8
# The weight is 1 up to this noise ratio, falls to 1/2 after a further `_HALF_WIDTH`, and is 0 from `_ZERO_RATIO` on.
_FULL_RATIO, _HALF_WIDTH, _ZERO_RATIO = 1.25, 0.75, 6.0
# Weight of a face with few annotated points but a prediction. It falls to a half of that when the teachers disagree by
# more than `_FULL_DISAGREEMENT` plus `_DISAGREEMENT_HALF_WIDTH`, in % of the face size.
_PREDICTED_ONLY_WEIGHT, _FULL_DISAGREEMENT, _DISAGREEMENT_HALF_WIDTH = 0.5, 2.5, 1.5
_ITERATIONS = 12
# Faces per batch: bounds the memory.
_CHUNK = 1024


@dataclass(frozen=True)
class FusionFactors:
    """Factors of the error estimates of EM in the fusion.

    EM attributes to the prediction what the annotations of one face have in common, such as a contour that is drawn too
    wide. It also does not know of outliers, which the fit treats robustly. The values were chosen on held-out
    annotations and on rotations of an independent network, all of aflw_val (docs/labels.md).

    Attributes:
        rotation: of the standard deviations of predicted rotations.
        noise: of the variances of the annotations.
    """

    rotation: float = 0.2
    noise: float = 0.2


DEFAULT_FACTORS = FusionFactors()


@dataclass(frozen=True)
class Labels(RowWise):
    """Fitted faces and their quality.

    Attributes:
        faces: the N labels in the image frame, y up.
        n_points: (N,) number of annotated points.
        residual: (N,) mean distance of annotated points, without the 17 iBUG points of the jaw, to the fit, in % of the
            face size; NaN without any. AFLW's ear lobes and chin (observed points 80, 84 and 88) are included.
        noise_ratio: (N,) root mean square distance of annotated points over its expected value; NaN without any.
        converged: (N,) whether the fit converged.
        weight: (N,) weight for training, 0 to 1. It is 0 where the fit is not finite.
    """

    faces: FaceParameters
    n_points: Tensor
    residual: Tensor
    noise_ratio: Tensor
    converged: Tensor
    weight: Tensor


def label_faces(
    model: PointModel,
    points: Tensor,
    predicted: FaceParameters | None,
    calibration: Calibration,
    disagreement: Tensor | None = None,
    observed: tuple[Tensor, Tensor] | None = None,
) -> Labels:
    """Label N faces.

    Args:
        model: the morphable model at the observed points.
        points: (N, P, 3) annotations in pixels, **y up**; NaN where unknown, z NaN for 2D annotations.
        predicted: predicted faces in the image frame, with NaN scale where there is no prediction; or None.
        calibration: errors of these annotations and predictions.
        disagreement: (N,) of the teachers (`train.annotate.teachers.measure_disagreement`), which decides the weight of
            faces without annotations; NaN or None where unknown.
        observed: coefficients (N, K) that blendshape scores show, and their precision (N, K)
            (`train.blendshape_scores.ScoreModel.observe`).
    """
    if disagreement is None:
        disagreement = points.new_full((len(points),), torch.nan)
    parts = []
    for start in range(0, len(points), _CHUNK):
        rows = slice(start, start + _CHUNK)
        prior = None if predicted is None else predicted[rows]
        scored = None if observed is None else (observed[0][rows], observed[1][rows])
        parts.append(_label(model, points[rows], prior, calibration, disagreement[rows], scored))
    return Labels.concatenate(parts)


def _label(
    model: PointModel,
    points: Tensor,
    predicted: FaceParameters | None,
    calibration: Calibration,
    disagreement: Tensor,
    observed: tuple[Tensor, Tensor] | None,
) -> Labels:
    """Label one batch: fused with the prediction, unless there is none or the annotations contradict it."""
    n_points = points[..., :2].isfinite().all(-1).sum(-1)
    if predicted is None:
        best = fit_annotations(model, points, calibration)
    else:
        exists = predicted.log_scale.isfinite()
        best = fuse(model, _replace_missing(predicted, exists), points, calibration, observed)
        ratio = _noise_ratio(measure_residuals(model, best.faces, points, calibration)[1]).nan_to_num()
        retry = (~exists | (ratio > _RETRY_RATIO)) & (n_points >= _FEWEST_POINTS)
        if retry.any():
            alone = fit_annotations(model, points[retry], calibration)
            alone_ratio = _noise_ratio(measure_residuals(model, alone.faces, points[retry], calibration)[1])
            chosen = (alone_ratio < ratio[retry]) | ~exists[retry]
            best = best.replace_rows(retry.nonzero()[chosen, 0], alone[chosen])
    distance, mahalanobis = measure_residuals(model, best.faces, points, calibration)
    ratio = _noise_ratio(mahalanobis)
    residual = distance[:, 17:].nanmean(-1) * 100
    weight = _weight(ratio)
    few_points = torch.zeros_like(weight) if predicted is None else exists * _predicted_weight(disagreement)
    weight = torch.where(n_points < _FEWEST_POINTS, weight * few_points, weight)
    weight = torch.where(best.faces.project(model).isfinite().all((1, 2)), weight, 0.0)
    return Labels(best.faces, n_points, residual, ratio, best.converged, weight)


def fuse(
    model: PointModel,
    predicted: FaceParameters,
    points: Tensor,
    calibration: Calibration,
    observed: tuple[Tensor, Tensor] | None = None,
    factors: FusionFactors = DEFAULT_FACTORS,
) -> Fit:
    """Return the most likely faces given predictions and annotations (N, P, 3), both in the image frame, y up.

    The error of a prediction follows a Student t distribution with Q degrees of freedom: a prediction that is twice as
    far off as its covariance says keeps 40 % of its weight. `cost` of the result refers to the canonical frame.
    `observed` are coefficients (N, K) that blendshape scores show, and their precision (N, K).
    """
    frame = CanonicalFrame.create(predicted)
    canonical = frame.convert(predicted)
    errors = calibration.for_faces(canonical)
    prior_precision = _scale_rotation(errors, factors.rotation).prior_precision()
    prior = Prior(canonical, prior_precision, float(prior_precision.shape[-1]))
    if observed is not None:
        prior = prior.observe_coefficients(*observed)
    unbiased, precision = _unbiased(frame, errors, points)
    fused = fit(model, unbiased, precision / factors.noise, prior, _ITERATIONS)
    return replace(fused, faces=frame.convert_back(fused.faces))


def _scale_rotation(errors: ErrorModel, factor: float) -> ErrorModel:
    """Return errors whose standard deviations of the rotation are multiplied by a factor."""
    scale = torch.ones(errors.covariance.shape[-1], dtype=torch.float64)
    scale[:3] = factor
    return replace(errors, covariance=errors.covariance * scale[:, None] * scale)


def fit_annotations(model: PointModel, points: Tensor, calibration: Calibration) -> Fit:
    """Return the most likely faces given annotations (N, P, 3) and the morphable model's prior.

    A first fit from several yaws finds the canonical frame, in which the annotation bias is defined. Two more fits
    subtract the bias.
    """
    errors = ErrorModel.default(model)
    best = fit(model, points, errors.point_precision(points) / _extent(points).square()[:, None, None, None])
    for _ in range(2):
        frame = CanonicalFrame.create(best.faces)
        canonical = frame.convert(best.faces)
        prior = Prior.of_coefficients(canonical, calibration.mean_coefficients)
        found = fit(model, *_unbiased(frame, calibration.for_faces(canonical), points), prior, _ITERATIONS)
        best = replace(found, faces=frame.convert_back(found.faces))
    return best


def measure_residuals(
    model: PointModel, faces: FaceParameters, points: Tensor, calibration: Calibration
) -> tuple[Tensor, Tensor]:
    """Compare annotations, without their bias, with fitted faces.

    Returns:
        Distances (N, P) in face sizes and Mahalanobis distances (N, P), NaN where unknown. The mean square of the
        second is 2 for annotations of the usual quality.
    """
    frame = CanonicalFrame.create(faces)
    canonical = frame.convert(faces)
    unbiased, precision = _unbiased(frame, calibration.for_faces(canonical), points)
    difference = (canonical.project(model) - unbiased)[..., :2, None]
    squared = difference.mT @ precision[..., :2, :2] @ difference
    return difference[..., 0].norm(dim=-1), squared[..., 0, 0].sqrt()


def _unbiased(frame: CanonicalFrame, errors: ErrorModel, points: Tensor) -> tuple[Tensor, Tensor]:
    """Return annotations without their bias (N, P, 3) and their precision (N, P, 3, 3), in the canonical frame."""
    unbiased = errors.remove_bias(frame.convert_points(points))
    return unbiased, errors.point_precision(unbiased)


def _replace_missing(predicted: FaceParameters, exists: Tensor) -> FaceParameters:
    """Return predictions with finite values in the rows where `exists` (N,) does not hold."""
    n, k = predicted.coefficients.shape
    kind = predicted.coefficients
    neutral = FaceParameters(torch.eye(3).to(kind).expand(n, 3, 3), *(kind.new_zeros(n, *d) for d in ((), (3,), (k,))))
    return predicted.where(exists, neutral)


def _noise_ratio(mahalanobis: Tensor) -> Tensor:
    """Return the noise ratios (N,) of Mahalanobis distances (N, P), NaN where all of a face are unknown."""
    return (mahalanobis.square().nanmean(-1) / 2).sqrt()


def _weight(ratio: Tensor) -> Tensor:
    """Return training weights (N,) from the noise ratios of the annotations, 1 where there are none."""
    ratio = ratio.nan_to_num()
    return 1 / (1 + ((ratio - _FULL_RATIO).clamp_min(0) / _HALF_WIDTH).square()) * (ratio < _ZERO_RATIO)


def _predicted_weight(disagreement: Tensor) -> Tensor:
    """Return training weights (N,) of faces without annotations from the disagreement of the teachers."""
    excess = (disagreement.nan_to_num(nan=_FULL_DISAGREEMENT) - _FULL_DISAGREEMENT).clamp_min(0)
    return _PREDICTED_ONLY_WEIGHT / (1 + (excess / _DISAGREEMENT_HALF_WIDTH).square())


def _extent(points: Tensor) -> Tensor:
    """Return the longer side (N,) of the box of the known points (N, P, 3), a first estimate of the face size."""
    xy = points[..., :2]
    high, low = xy.nan_to_num(nan=-torch.inf).amax(1), xy.nan_to_num(nan=torch.inf).amin(1)
    return (high - low).amax(-1).nan_to_num(neginf=1.0).clamp_min(1e-6)
