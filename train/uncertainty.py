"""Losses, scores and temperatures of the uncertainty heads (`synergy.models.uncertainty`) of a trained network.

The standard deviations are those of errors against the labels of a training pack, which are not the errors against the
truth: a label combines annotations and predictions, and has errors of its own.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat
from typing_extensions import override

from eval.calibration import (
    LANDMARK_DIMENSIONS,
    ROTATION_DIMENSIONS,
    SIGMAS,
    coverage,
    fit_temperature,
    landmark_squares,
    rotation_squares,
)
from synergy.geometry import decompose_pose, rotation_vector
from synergy.models import SynergyNet, SynergyOutput
from synergy.parameters import split_pose
from train.batch import Batch
from train.losses import masked_mean
from train.negatives import make_negatives

# Degrees of freedom of the Student's t distribution of the errors. Errors against labels have heavier tails than a
# Gaussian. Values from 3 to 8 were equally well calibrated (docs/journal.md).
_DEGREES_OF_FREEDOM = 5.0
# Temperatures are fitted on photos that the network itself was trained with. On new photos, its landmark errors are
# larger by this factor, which was chosen on validation photos (docs/journal.md, "Standard deviations on new photos").
NEW_PHOTOS = 1.04


def student_t_nll(squares: Tensor, log_scale: Tensor, dimensions: int) -> Tensor:
    """Return negative log-likelihoods under a multivariate Student's t distribution with 5 degrees of freedom.

    Args:
        squares: squared Mahalanobis distances of the errors, of any shape.
        log_scale: logarithm of the square root of the determinant of the scale matrix, of the same shape.
        dimensions: of the error.
    """
    nu, d = _DEGREES_OF_FREEDOM, float(dimensions)
    constant = math.lgamma(nu / 2) - math.lgamma((nu + d) / 2) + d / 2 * math.log(nu * math.pi)
    return constant + log_scale + (nu + d) / 2 * torch.log1p(squares / nu)


def landmark_nll(output: SynergyOutput, landmarks: Tensor, weight: Tensor) -> Tensor:
    """Return the mean negative log-likelihood of the refined landmarks' positions in the image plane.

    Args:
        output: of a network with uncertainty heads.
        landmarks: labels (B, 68, 3) in crop pixels, NaN where unknown.
        weight: (B,).
    """
    assert output.landmark_std is not None
    predicted, std = output.landmarks[..., :2], output.landmark_std
    known = landmarks[..., :2].isfinite().all(-1)
    error = torch.where(known[..., None], landmarks[..., :2] - predicted, 0.0)
    squares = error.square().sum(-1) / std.square()
    return masked_mean(student_t_nll(squares, 2 * std.log(), LANDMARK_DIMENSIONS), known, weight)


def rotation_error(params: Tensor, true_params: Tensor) -> Tensor:
    """Return the rotation vectors (B, 3) from predicted to true rotations, in radians, in the camera's frame.

    Args:
        params: predicted parameters (B, 12 + S + E).
        true_params: (B, 12 + S + E), NaN where unknown.
    """
    predicted, true = (decompose_pose(split_pose(p)[0])[1] for p in (params, true_params))
    return rotation_vector(true @ predicted.mT)


def rotation_nll(output: SynergyOutput, true_params: Tensor, weight: Tensor) -> Tensor:
    """Return the mean negative log-likelihood of the rotation.

    Args:
        output: of a network with uncertainty heads.
        true_params: (B, 12 + S + E), NaN where unknown.
        weight: (B,).
    """
    assert output.rotation_covariance is not None
    error = rotation_error(output.params, true_params)
    known = error.isfinite().all(-1)
    error = torch.where(known[:, None], error, 0.0)
    factor = torch.linalg.cholesky(output.rotation_covariance)
    squares = torch.linalg.solve_triangular(factor, error[..., None], upper=False).square().sum((-2, -1))
    log_scale = factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    return masked_mean(student_t_nll(squares, log_scale, ROTATION_DIMENSIONS), known, weight)


def face_loss(face: Tensor, no_face: Tensor) -> Tensor:
    """Return the binary cross entropy of the face score, with equal weights of both classes.

    Args:
        face: logits (B,) of faces.
        no_face: logits (N,) of negatives.
    """
    of_face = binary_cross_entropy_with_logits(face, torch.ones_like(face))
    return (of_face + binary_cross_entropy_with_logits(no_face, torch.zeros_like(no_face))) / 2


class UncertaintyScores(Metric):
    """How often errors against the labels lie within the predicted limits, and the face score, over one validation set.

    The figures are

    - landmarks_within1, landmarks_within2: percentage of landmarks within 1 and 2 standard deviations of the label, in
      two dimensions. 39.3 and 86.5 are nominal.
    - rotation_within1, rotation_within2: percentage of rotations within the predicted ellipsoids of 1 and 2 standard
      deviations. 19.9 and 73.9 are nominal.
    - faces_kept, negatives_kept: percentage of faces, and of negatives (`train.negatives`), with a face score of at
      least 0.5.
    """

    full_state_update = False
    landmarks: list[Tensor]
    rotation: list[Tensor]
    face: list[Tensor]
    no_face: list[Tensor]

    def __init__(self) -> None:
        super().__init__()
        for name in ("landmarks", "rotation", "face", "no_face"):
            self.add_state(name, default=[], dist_reduce_fx="cat")

    @override
    def update(self, net: SynergyNet, batch: Batch, output: SynergyOutput) -> None:
        """Add a batch and the output of the network for it. The negatives depend on the batch alone."""
        assert output.landmark_std is not None
        assert output.rotation_covariance is not None
        assert output.face_logit is not None
        points, std, label = (t.cpu().numpy() for t in (output.landmarks, output.landmark_std, batch.landmarks))
        error = rotation_error(output.params, batch.params).cpu().numpy()
        squares = landmark_squares(points[..., :2], label[..., :2], std)
        self.landmarks.append(self._tensor(squares.ravel()))
        self.rotation.append(self._tensor(rotation_squares(error, output.rotation_covariance.cpu().numpy())))
        self.face.append(output.face_logit)
        self.no_face.append(no_face_logits(net, batch.image))

    def _tensor(self, values: np.ndarray[Any, Any]) -> Tensor:
        return torch.from_numpy(values).float().to(self.device)

    @override
    def compute(self) -> dict[str, float]:
        """Return the figures by name; none without a face."""
        if not len(self.face):
            return {}
        columns = {name: dim_zero_cat(getattr(self, name)).cpu().numpy() for name in ("landmarks", "rotation")}
        dimensions = {"landmarks": LANDMARK_DIMENSIONS, "rotation": ROTATION_DIMENSIONS}
        figures = {
            f"{name}_within{sigma:.0f}": value
            for name, squares in columns.items()
            for sigma, value in zip(SIGMAS, coverage(squares, dimensions[name])[0], strict=True)
        }
        for name, logits in (("faces_kept", self.face), ("negatives_kept", self.no_face)):
            figures[name] = 100 * float((dim_zero_cat(logits) >= 0).float().mean())
        return figures


@torch.no_grad()
def no_face_logits(net: SynergyNet, image: Tensor) -> Tensor:
    """Return the logits (B,) of the face score for as many negatives, which depend on the images alone."""
    assert net.uncertainty is not None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        negatives = make_negatives(image, len(image), net.size)
    logits: Tensor = net.uncertainty(net.features(negatives)).face_logit
    return logits


@torch.no_grad()
def fit_temperatures(net: SynergyNet, batches: Iterable[Batch]) -> None:
    """Set the temperatures of a network's uncertainty heads, from faces that were not used to train them.

    The temperatures of landmarks and rotation are those of `eval.calibration.fit_temperature`, that of the landmarks
    times `NEW_PHOTOS`. The temperature of the face score minimises the cross entropy of as many faces as negatives.

    Args:
        net: with trained heads, changed in place, in evaluation mode.
        batches: faces with labels.
    """
    assert net.uncertainty is not None
    net.uncertainty.temperature.fill_(1)
    scores = UncertaintyScores().to(net.param_mean.device)
    for batch in batches:
        batch = batch.to(net.param_mean.device)
        scores.update(net, batch, net(batch.image))
    landmarks = NEW_PHOTOS * fit_temperature(dim_zero_cat(scores.landmarks).cpu().numpy(), LANDMARK_DIMENSIONS)
    rotation = fit_temperature(dim_zero_cat(scores.rotation).cpu().numpy(), ROTATION_DIMENSIONS)
    candidates = torch.logspace(-1, 1, 101)
    face, no_face = dim_zero_cat(scores.face).cpu(), dim_zero_cat(scores.no_face).cpu()
    losses = torch.stack([face_loss(face / value, no_face / value) for value in candidates])
    net.uncertainty.temperature.copy_(torch.tensor([landmarks, rotation, float(candidates[losses.argmin()])]))
