"""Blendshape scores of another network as noisy observations of the weights of named expression modes.

For each shape that both have, by name:

    score = scale * weight + offset + noise,    noise ~ N(0, variance)

Scale, offset and variance are estimated by expectation-maximisation on labelled faces. The E-step is the posterior of a
face's weights given its landmarks, its prediction and its scores; the bounds of the weights are ignored there.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from train.annotate.calibration import Calibration, CanonicalFrame
from train.annotate.faces import N_LOCAL_POSE, FaceParameters, PointModel
from train.annotate.solver import normal_equations

# MediaPipe's names in the order of the scores, which are ARKit's names after `_neutral`.
NAMES = (
    "_neutral", "browDownLeft", "browDownRight", "browInnerUp", "browOuterUpLeft", "browOuterUpRight", "cheekPuff",
    "cheekSquintLeft", "cheekSquintRight", "eyeBlinkLeft", "eyeBlinkRight", "eyeLookDownLeft", "eyeLookDownRight",
    "eyeLookInLeft", "eyeLookInRight", "eyeLookOutLeft", "eyeLookOutRight", "eyeLookUpLeft", "eyeLookUpRight",
    "eyeSquintLeft", "eyeSquintRight", "eyeWideLeft", "eyeWideRight", "jawForward", "jawLeft", "jawOpen", "jawRight",
    "mouthClose", "mouthDimpleLeft", "mouthDimpleRight", "mouthFrownLeft", "mouthFrownRight", "mouthFunnel",
    "mouthLeft", "mouthLowerDownLeft", "mouthLowerDownRight", "mouthPressLeft", "mouthPressRight", "mouthPucker",
    "mouthRight", "mouthRollLower", "mouthRollUpper", "mouthShrugLower", "mouthShrugUpper", "mouthSmileLeft",
    "mouthSmileRight", "mouthStretchLeft", "mouthStretchRight", "mouthUpperUpLeft", "mouthUpperUpRight",
    "noseSneerLeft", "noseSneerRight",
)  # fmt: skip

_ITERATIONS, _CHUNK, _MOST_FACES = 8, 256, 1000
# Weight of the initial values (scale 1, offset 0, standard deviation 0.3), in faces.
_STRENGTH, _INITIAL_STD = 20.0, 0.3
# Fewer faces give no estimate.
_FEWEST_FACES = 20
# A shape is used when its scores vary by at least this standard deviation.
_SMALLEST_STD = 0.01


@dataclass(frozen=True)
class ScoreModel:
    """How scores follow from the weights of the morphable model's expression modes.

    Attributes:
        columns: (M,) column of each used shape in the scores.
        modes: (M,) index of its coefficient among the K of the morphable model.
        scale, offset, variance: (M,).
    """

    columns: Tensor
    modes: Tensor
    scale: Tensor
    offset: Tensor
    variance: Tensor

    def observe(self, model: PointModel, scores: Tensor) -> tuple[Tensor, Tensor]:
        """Return scores (N, 52) as observed coefficients (N, K) in standard deviations and their precision (N, K)."""
        std = model.coefficient_std[self.modes]
        used = scores[:, self.columns].double()
        known = used.isfinite()
        target = scores.new_zeros(len(scores), model.n_coefficients, dtype=torch.float64)
        precision = torch.zeros_like(target)
        safe = self.scale.clamp_min(1e-3)
        target[:, self.modes] = ((used - self.offset) / safe / std).nan_to_num()
        precision[:, self.modes] = known * (safe * std).square() / self.variance
        return target, precision


def scored_rows(scores: Tensor, points: Tensor, usable: Tensor) -> Tensor:
    """Return indices of at most 1,000 usable faces with scores (N, 52) and annotations (N, P, 3)."""
    rows = (usable & scores.isfinite().all(1) & points[..., 0].isfinite().any(1)).nonzero()[:, 0]
    return rows[:: max(1, -(-len(rows) // _MOST_FACES))]


def estimate_scores(
    model: PointModel, faces: FaceParameters, points: Tensor, calibration: Calibration, scores: Tensor
) -> ScoreModel | None:
    """Estimate how the scores follow from the weights of labelled faces.

    Args:
        model: the morphable model at the observed points.
        faces: N labels that were made without the scores, in the image frame.
        points: (N, P, 3) annotations in pixels, y up; NaN where unknown.
        calibration: their errors.
        scores: (N, 52), all known (`scored_rows`).

    Returns:
        The estimate, or None if the model has no named expression modes or too few faces have scores.
    """
    names = model.morphable_model.expression_names
    n_shape = model.morphable_model.n_shape
    if len(scores) < _FEWEST_FACES:
        return None
    common = [name for name in names if name in NAMES and scores[:, NAMES.index(name)].std() > _SMALLEST_STD]
    if not common:
        return None
    columns = torch.tensor([NAMES.index(name) for name in common])
    modes = torch.tensor([n_shape + names.index(name) for name in common])
    std, observed = model.coefficient_std[modes], scores[:, columns].double()
    information, mean = _without_scores(model, faces, points, calibration)
    local = modes + N_LOCAL_POSE
    found = ScoreModel(
        columns,
        modes,
        torch.ones(len(common)).double(),
        observed.mean(0) * 0,
        torch.full((len(common),), _INITIAL_STD**2).double(),
    )
    for _ in range(_ITERATIONS):
        expected, variance = torch.empty_like(observed), torch.empty_like(observed)
        for start in range(0, len(observed), _CHUNK):
            some = slice(start, start + _CHUNK)
            added = torch.zeros_like(information[some, 0])
            added[:, local] = (found.scale * std).square() / found.variance
            covariance = torch.linalg.inv(information[some] + torch.diag_embed(added))
            pull = torch.zeros_like(added)
            surprise = observed[some] - found.offset - found.scale * std * mean[some][:, modes]
            pull[:, local] = found.scale * std / found.variance * surprise
            moved = (covariance @ pull[..., None])[..., 0]
            expected[some] = std * (mean[some][:, modes] + moved[:, local])
            variance[some] = std.square() * covariance.diagonal(dim1=-2, dim2=-1)[:, local]
        found = _maximise(found, observed, expected, variance)
    return found


def _without_scores(
    model: PointModel, faces: FaceParameters, points: Tensor, calibration: Calibration
) -> tuple[Tensor, Tensor]:
    """Return the information (N, Q, Q) of annotations and prior at labelled faces, and the coefficients (N, K)."""
    frame = CanonicalFrame.create(faces)
    canonical = frame.convert(faces)
    errors = calibration.for_faces(canonical)
    unbiased = frame.convert_points(points) - torch.nn.functional.pad(errors.bias, (0, 1))
    normal, _ = normal_equations(model, unbiased.nan_to_num(), errors.point_precision(unbiased), canonical)
    return normal + errors.prior_precision(), faces.coefficients


def _maximise(before: ScoreModel, observed: Tensor, expected: Tensor, variance: Tensor) -> ScoreModel:
    """Return the M-step: regression of scores (N, M) on weights with a posterior mean and variance (N, M)."""
    n = len(observed)
    mean_weight, mean_score = expected.mean(0), observed.mean(0)
    second = ((expected - mean_weight).square() + variance).sum(0)
    cross = ((expected - mean_weight) * (observed - mean_score)).sum(0)
    prior = _STRENGTH * before.variance.new_tensor(0.1**2)
    scale = (cross + prior) / (second + prior)
    offset = mean_score - scale * mean_weight
    squared = (observed - offset - scale * expected).square() + scale.square() * variance
    spread = (squared.sum(0) + _STRENGTH * _INITIAL_STD**2) / (n + _STRENGTH)
    return ScoreModel(before.columns, before.modes, scale.clamp_min(0), offset, spread)
