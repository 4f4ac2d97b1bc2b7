"""Losses for landmarks, score volumes and 3DMM parameters.

Unknown labels are NaN in the target and are left out. Each loss returns a scalar, except for `adaptive_wing`. The
scalar is zero, with a zero gradient, if nothing is known. Weights are per sample.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from synergy.landmarks import CONTOURS


def masked_mean(values: Tensor, known: Tensor, weight: Tensor) -> Tensor:
    """Return the weighted mean of the known values.

    Args:
        values: (B, ...).
        known: bool of the same shape.
        weight: (B,).
    """
    weights = known * weight.reshape(-1, *[1] * (values.dim() - 1))
    return torch.where(known, values * weights, 0.0).sum() / weights.sum().clamp_min(1e-6)


def known_difference(predicted: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Return the difference of two tensors of the same shape where the target is known, and where it is known.

    Args:
        predicted: of any shape.
        target: of the same shape, NaN where unknown.

    Returns:
        predicted - target, which is zero where the target is unknown, and a bool tensor of the same shape that says
        where it is known.
    """
    known = target.isfinite()
    return predicted - torch.where(known, target, predicted.detach()), known


def wing(predicted: Tensor, target: Tensor, weight: Tensor, omega: float = 10.0, epsilon: float = 2.0) -> Tensor:
    """Return the Wing loss (Feng et al. 2018, arXiv 1711.06753, eq. 5), the mean over the coordinates.

    The loss of an error x is omega * ln(1 + |x| / epsilon) if |x| < omega, and |x| - C otherwise. C makes it
    continuous.

    Args:
        predicted: landmarks (B, 68, 3) in crop pixels.
        target: (B, 68, 3), NaN where unknown.
        weight: (B,).
        omega: limit in pixels between the two parts.
        epsilon: curvature of the first part, in pixels.
    """
    difference, known = known_difference(predicted, target)
    x = difference.abs()
    constant = omega - omega * math.log(1 + omega / epsilon)
    return masked_mean(torch.where(x < omega, omega * torch.log1p(x / epsilon), x - constant), known, weight)


def rms(predicted: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Return the root mean square error of whitened parameters, SynergyNet's parameter loss.

    Args:
        predicted: (B, P).
        target: (B, P), NaN where unknown.
        weight: (B,).
    """
    difference, known = known_difference(predicted, target)
    square = difference.square()
    return (masked_mean(square, known, weight) + 1e-12).sqrt()


def vdc(predicted: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Return the vertex distance cost (Zhu et al. 2016, section 4.3.2): the mean squared distance of points.

    Args:
        predicted: (B, N, 3) in pixels.
        target: (B, N, 3), NaN where unknown.
        weight: (B,).
    """
    difference, known = known_difference(predicted, target)
    square = difference.square()
    return 3 * masked_mean(square, known, weight)


def wpdc(predicted: Tensor, target: Tensor, importance: Tensor, weight: Tensor) -> Tensor:
    """Return the weighted parameter distance cost (Zhu et al. 2016, eq. 10) of whitened parameters.

    Args:
        predicted: (B, P).
        target: (B, P), NaN where unknown.
        importance: (B, P) from `parameter_importance`.
        weight: (B,).
    """
    difference, known = known_difference(predicted, target)
    square = difference.square()
    return masked_mean(importance * square, known, weight)


@torch.no_grad()
def parameter_importance(predicted: Tensor, target: Tensor, jacobian: Tensor) -> Tensor:
    """Return how far the error of each parameter alone moves the landmarks, relative to the largest in each face.

    Args:
        predicted: whitened parameters (B, P).
        target: (B, P), NaN where unknown.
        jacobian: (P,) or (B, P), how far the landmarks move with one unit of each parameter.

    Returns:
        (B, P) in 0..1.
    """
    moved = (predicted - target).nan_to_num().abs() * jacobian
    return moved / moved.amax(-1, keepdim=True).clamp_min(1e-12)


def smooth_l1(predicted: Tensor, target: Tensor, weight: Tensor, beta: float = 1.0) -> Tensor:
    """Return the smooth L1 loss (Girshick 2015, arXiv 1504.08083, eq. 3), the mean over the coordinates.

    The loss of an error x is x^2 / (2 beta) if |x| < beta, and |x| - beta / 2 otherwise.

    Args:
        predicted: landmarks (B, 68, D) in pixels.
        target: (B, 68, D), NaN where unknown.
        weight: (B,).
        beta: limit in pixels between the two parts.
    """
    difference, known = known_difference(predicted, target)
    x = difference.abs()
    return masked_mean(torch.where(x < beta, x.square() / (2 * beta), x - beta / 2), known, weight)


def gaussian_nll(predicted: Tensor, target: Tensor, std: Tensor, weight: Tensor) -> Tensor:
    """Return the negative log likelihood of the target under isotropic Gaussians, the mean over the landmarks.

    For a landmark with the error (x, y) and the standard deviation s it is (x^2 + y^2) / (2 s^2) + 2 ln s + ln 2 pi. A
    known z adds its terms in the same way.

    Args:
        predicted: landmarks (B, 68, D) in pixels.
        target: (B, 68, D), NaN where unknown.
        std: (B, 68) standard deviation of each coordinate in pixels.
        weight: (B,).
    """
    difference, known = known_difference(predicted, target)
    square = difference.square()
    likelihood = square / (2 * std.square()[..., None]) + std.log()[..., None] + 0.5 * math.log(2 * math.pi)
    return masked_mean(torch.where(known, likelihood, 0.0).sum(-1), known.any(-1), weight)


def contour_normals(landmarks: Tensor) -> Tensor:
    """Return unit normals of the contours at each landmark.

    The tangent at a landmark is the direction from its predecessor to its successor on the contour; at an open end, to
    or from its only neighbour.

    Args:
        landmarks: (B, 68, 2) in pixels, NaN where unknown.

    Returns:
        (B, 68, 2). It is zero where a neighbour is unknown or where both are at the same place.
    """
    before, after = (torch.from_numpy(index).to(landmarks.device) for index in _NEIGHBOURS)
    tangent = (landmarks[:, after] - landmarks[:, before]).nan_to_num()
    unit = tangent / tangent.norm(dim=-1, keepdim=True).clamp_min(1e-6)
    return torch.stack([-unit[..., 1], unit[..., 0]], -1)


def direction_loss(
    predicted: Tensor, target: Tensor, weight: Tensor, anisotropy: float = 2.0, smooth: float = 0.6
) -> Tensor:
    """Return ADNet's anisotropic direction loss (Huang et al. 2021, arXiv 2109.05721), the mean over the landmarks.

    The error in the image is split along the normal (n) and the tangent (t) of the contour. With the anisotropy a, the
    distance is d = sqrt(2 a / (a + 1) n^2 + 2 / (a + 1) t^2), which is the Euclidean distance for a = 1. Where there is
    no normal, d is the Euclidean distance. An error of z is added as in the Euclidean distance. The loss is d^2 / (2 s)
    if d < s, and d - s / 2 otherwise.

    Args:
        predicted: landmarks (B, 68, D) in pixels.
        target: (B, 68, D), NaN where unknown. Landmarks with an unknown x or y are left out.
        weight: (B,).
        anisotropy: a, weight of the normal relative to the tangent.
        smooth: s, limit in pixels between the two parts. ADNet's is 0.01 of half of the image's side.
    """
    error, known = known_difference(predicted, target)
    normal = contour_normals(target[..., :2])
    square = error.square().sum(-1)
    along_normal = (error[..., :2] * normal).sum(-1).square()
    along_tangent = error[..., :2].square().sum(-1) - along_normal
    # n^2 + t^2 is part of `square` already.
    factor = (anisotropy - 1) / (anisotropy + 1)
    has_normal = normal.square().sum(-1) > 0.5
    square = torch.where(has_normal, square + factor * (along_normal - along_tangent), square)
    distance = square.clamp_min(1e-12).sqrt()
    loss = torch.where(distance < smooth, square / (2 * smooth), distance - smooth / 2)
    return masked_mean(loss, known[..., :2].all(-1), weight)


def pfld(predicted: Tensor, target: Tensor, angles: Tensor, true_angles: Tensor, weight: Tensor) -> Tensor:
    """Return PFLD's loss (Guo et al. 2019, arXiv 1902.10859, eq. 2), the mean over the landmarks.

    The squared distance of each landmark is multiplied by the sum over pitch, yaw and roll of 1 - cos(error of the
    angle) of the auxiliary branch. The other factor of the paper, for rare groups of faces, belongs to `weight`
    (`rarity`).

    Args:
        predicted: landmarks (B, 68, D) in pixels.
        target: (B, 68, D), NaN where unknown.
        angles: (B, 3) of the auxiliary branch, in radians.
        true_angles: (B, 3) in radians. The factor of a face with unknown angles (NaN) is 1.
        weight: (B,).
    """
    difference, known = known_difference(predicted, target)
    square = difference.square()
    has_angles = true_angles.isfinite().all(-1)
    factor = (1 - (angles - torch.where(has_angles[:, None], true_angles, angles.detach())).cos()).sum(-1)
    factor = torch.where(has_angles, factor, 1.0)
    return predicted.shape[-1] * masked_mean(square * factor[:, None, None], known, weight)


def rarity(groups: Tensor) -> Tensor:
    """Return PFLD's weights for rare groups of faces: the sum of 1 / (fraction of the batch in the group).

    Args:
        groups: (B, G) bool, which groups each face belongs to.

    Returns:
        (B,), with a mean of 1. A face of no group counts as a group that holds all faces.
    """
    fraction = groups.float().mean(0).clamp_min(1 / len(groups))
    weight = (groups / fraction).sum(-1)
    weight = torch.where(groups.any(-1), weight, 1.0)
    return weight / weight.mean()


def adaptive_wing(
    predicted: Tensor,
    target: Tensor,
    alpha: float = 2.1,
    omega: float = 14.0,
    epsilon: float = 1.0,
    theta: float = 0.5,
) -> Tensor:
    """Return the Adaptive Wing loss of each voxel of heatmaps (Wang et al. 2019, arXiv 1904.07399, eq. 3).

    With the error x and the true value y, the loss is omega ln(1 + (|x| / epsilon)^(alpha - y)) if |x| < theta, and
    A |x| - C otherwise. A and C make it and its derivative continuous.

    Args:
        predicted: heatmaps or volumes of any shape.
        target: the same shape, in 0..1.
        alpha: exponent where the true value is 0; larger than 2, so that the loss is smooth at 0.
        omega: factor of the first part.
        epsilon: curvature of the first part.
        theta: limit between the two parts.
    """
    x, exponent = (predicted - target).abs(), alpha - target
    ratio = (theta / epsilon) ** exponent
    slope = omega * exponent * ratio / (1 + ratio) / theta
    constant = theta * slope - omega * torch.log1p(ratio)
    # The clamp keeps the derivative of the unused part finite.
    near = omega * torch.log1p((x.clamp(1e-12, theta) / epsilon) ** exponent)
    return torch.where(x < theta, near, slope * x - constant)


def _neighbours() -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the predecessor and the successor (68,) of each landmark on its contour; itself at an open end."""
    before, after = np.arange(68), np.arange(68)
    for start, end, is_closed in CONTOURS.values():
        indices = np.arange(start, end)
        before[indices], after[indices] = np.roll(indices, 1), np.roll(indices, -1)
        if not is_closed:
            before[start], after[end - 1] = start, end - 1
    return before, after


_NEIGHBOURS = _neighbours()
