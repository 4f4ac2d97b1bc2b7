"""Losses for landmarks and 3DMM parameters.

Unknown labels are NaN in the target and are left out. Each loss returns a scalar. It is zero, with a zero gradient, if
nothing is known. Weights are per sample.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def masked_mean(values: Tensor, known: Tensor, weight: Tensor) -> Tensor:
    """Return the weighted mean of the known values.

    Args:
        values: (B, ...).
        known: bool of the same shape.
        weight: (B,).
    """
    weights = known * weight.reshape(-1, *[1] * (values.dim() - 1))
    return torch.where(known, values * weights, 0.0).sum() / weights.sum().clamp_min(1e-6)


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
    known = target.isfinite()
    x = (predicted - torch.where(known, target, predicted.detach())).abs()
    constant = omega - omega * math.log(1 + omega / epsilon)
    return masked_mean(torch.where(x < omega, omega * torch.log1p(x / epsilon), x - constant), known, weight)


def rms(predicted: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Return the root mean square error of whitened parameters, SynergyNet's parameter loss.

    Args:
        predicted: (B, P).
        target: (B, P), NaN where unknown.
        weight: (B,).
    """
    known = target.isfinite()
    square = (predicted - torch.where(known, target, predicted.detach())).square()
    return (masked_mean(square, known, weight) + 1e-12).sqrt()


def vdc(predicted: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Return the vertex distance cost (Zhu et al. 2016, section 4.3.2): the mean squared distance of points.

    Args:
        predicted: (B, N, 3) in pixels.
        target: (B, N, 3), NaN where unknown.
        weight: (B,).
    """
    known = target.isfinite()
    square = (predicted - torch.where(known, target, predicted.detach())).square()
    return 3 * masked_mean(square, known, weight)


def wpdc(predicted: Tensor, target: Tensor, importance: Tensor, weight: Tensor) -> Tensor:
    """Return the weighted parameter distance cost (Zhu et al. 2016, eq. 10) of whitened parameters.

    Args:
        predicted: (B, P).
        target: (B, P), NaN where unknown.
        importance: (B, P) from `parameter_importance`.
        weight: (B,).
    """
    known = target.isfinite()
    square = (predicted - torch.where(known, target, predicted.detach())).square()
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
