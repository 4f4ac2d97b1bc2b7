"""Estimate the relation of blendshape scores and coefficients from faces with annotations."""

from __future__ import annotations

from torch import Tensor

from train.annotate.calibration import Calibration, CanonicalFrame
from train.annotate.faces import FaceParameters, PointModel
from train.annotate.solver import normal_equations
from train.blendshape_scores import MOST_FACES, ScoreModel, fit_score_model


def scored_rows(scores: Tensor, points: Tensor, usable: Tensor) -> Tensor:
    """Return indices of at most `MOST_FACES` usable faces with scores (N, 52) and annotations (N, P, 3)."""
    rows = (usable & scores.isfinite().all(1) & points[..., 0].isfinite().any(1)).nonzero()[:, 0]
    return rows[:: max(1, -(-len(rows) // MOST_FACES))]


def estimate_scores(
    model: PointModel, faces: FaceParameters, points: Tensor, calibration: Calibration, scores: Tensor
) -> ScoreModel | None:
    """Estimate how the scores follow from the weights of faces that are labelled with annotations.

    Args:
        model: the morphable model at the observed points.
        faces: N labels that were made without the scores, in the image frame.
        points: (N, P, 3) annotations in pixels, y up; NaN where unknown.
        calibration: their errors.
        scores: (N, 52), all known (`scored_rows`).

    Returns:
        See `fit_score_model`.
    """
    frame = CanonicalFrame.create(faces)
    canonical = frame.convert(faces)
    errors = calibration.for_faces(canonical)
    unbiased = errors.remove_bias(frame.convert_points(points))
    normal, _ = normal_equations(model, unbiased.nan_to_num(), errors.point_precision(unbiased), canonical)
    information = normal + errors.prior_precision()
    return fit_score_model(model.morphable_model, information, faces.coefficients, scores)
