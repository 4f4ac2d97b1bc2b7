"""Blendshape scores of another network as noisy observations of the weights of named expression modes.

For each shape that both have, by name:

    score = scale * weight + noise,    noise ~ N(0, variance)

Scale and variance are estimated by expectation-maximisation on labelled faces. The E-step is the posterior of a face's
weights given its landmarks and its scores. There is no offset, so that a score of zero is a weight of zero. Scores are
never negative. The estimated weights are therefore not negative either, except for noise.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from bfm_assets import MorphableModel

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

_ITERATIONS, _CHUNK = 8, 256
# Estimates use at most about so many faces.
MOST_FACES = 1000
# Weight of the initial values (scale 1, standard deviation 0.3), in faces.
_STRENGTH, _INITIAL_STD = 20.0, 0.3
# Smallest scale: in the mean, a weight is at most twice its score.
_SMALLEST_SCALE = 0.5
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
        scale, variance: (M,).
        std: (M,) standard deviation of the coefficient in the morphable model.
    """

    columns: Tensor
    modes: Tensor
    scale: Tensor
    variance: Tensor
    std: Tensor

    def observe(self, n_coefficients: int, scores: Tensor) -> tuple[Tensor, Tensor]:
        """Return scores (N, 52) as observed coefficients (N, K) in standard deviations and their precision (N, K)."""
        used = scores[:, self.columns].double()
        known = used.isfinite()
        target = scores.new_zeros(len(scores), n_coefficients, dtype=torch.float64)
        precision = torch.zeros_like(target)
        target[:, self.modes] = (used / self.scale / self.std).nan_to_num()
        precision[:, self.modes] = known * (self.scale * self.std).square() / self.variance
        return target, precision


def fit_score_model(model: MorphableModel, information: Tensor, mean: Tensor, scores: Tensor) -> ScoreModel | None:
    """Estimate how scores follow from coefficients that are known with a given precision.

    Args:
        model: the morphable model.
        information: (N, Q, Q) inverse covariance of each face's parameters, or (1, Q, Q) if it is the same for all. The
            last K of the Q parameters are the coefficients in standard deviations.
        mean: (N, K) coefficients in standard deviations, made without the scores.
        scores: (N, 52), all known.

    Returns:
        The estimate, or None if the model has no named expression modes or too few faces have scores.
    """
    names = model.expression_names
    if len(scores) < _FEWEST_FACES:
        return None
    common = [name for name in names if name in NAMES and scores[:, NAMES.index(name)].std() > _SMALLEST_STD]
    if not common:
        return None
    columns = torch.tensor([NAMES.index(name) for name in common])
    modes = torch.tensor([model.n_shape + names.index(name) for name in common])
    std = torch.from_numpy(model.coefficient_std).double()[modes]
    observed = scores[:, columns].double()
    local = modes + information.shape[-1] - mean.shape[-1]
    found = ScoreModel(
        columns,
        modes,
        torch.ones(len(common)).double(),
        torch.full((len(common),), _INITIAL_STD**2).double(),
        std,
    )
    for _ in range(_ITERATIONS):
        expected, variance = torch.empty_like(observed), torch.empty_like(observed)
        for start in range(0, len(observed), _CHUNK):
            some = slice(start, start + _CHUNK)
            before = information if len(information) == 1 else information[some]
            added = torch.zeros_like(before[:, 0])
            added[:, local] = (found.scale * std).square() / found.variance
            covariance = torch.linalg.inv(before + torch.diag_embed(added))
            residual = observed[some] - found.scale * std * mean[some][:, modes]
            gradient = residual.new_zeros(len(residual), added.shape[1])
            gradient[:, local] = found.scale * std / found.variance * residual
            moved = (covariance @ gradient[..., None])[..., 0]
            expected[some] = std * (mean[some][:, modes] + moved[:, local])
            variance[some] = std.square() * covariance.diagonal(dim1=-2, dim2=-1)[:, local]
        found = _maximise(found, observed, expected, variance)
    return found


def _maximise(before: ScoreModel, observed: Tensor, expected: Tensor, variance: Tensor) -> ScoreModel:
    """Return the M-step: regression of scores (N, M) on weights with a posterior mean and variance (N, M)."""
    second = (expected.square() + variance).sum(0)
    cross = (expected * observed).sum(0)
    prior = _STRENGTH * before.variance.new_tensor(0.1**2)
    scale = ((cross + prior) / (second + prior)).clamp_min(_SMALLEST_SCALE)
    squared = (observed - scale * expected).square() + scale.square() * variance
    variance = (squared.sum(0) + _STRENGTH * _INITIAL_STD**2) / (len(observed) + _STRENGTH)
    return replace(before, scale=scale, variance=variance)
