"""Losses for landmarks and 3DMM parameters. Unknown labels are NaN in the target; every loss masks them.

Each returns a scalar that is zero, with a zero gradient, where nothing is known. Weights are per sample, (B,).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def masked_mean(values: Tensor, known: Tensor, weight: Tensor) -> Tensor:
    """The weighted mean of values (B, ...) where `known` (same shape) is true; weight (B,)."""
    share = known * weight.reshape(-1, *[1] * (values.dim() - 1))
    return torch.where(known, values * share, 0.0).sum() / share.sum().clamp_min(1e-6)


def wing(predicted: Tensor, target: Tensor, weight: Tensor, omega: float = 10.0, epsilon: float = 2.0) -> Tensor:
    """Wing loss (Feng et al. 2018, arXiv 1711.06753, eq. 5) per coordinate, in the landmarks' pixels; (B, 68, 3).

    omega * ln(1 + |x| / epsilon) below omega, |x| - C beyond, joined continuously.
    """
    known = target.isfinite()
    x = (predicted - torch.where(known, target, predicted.detach())).abs()
    constant = omega - omega * math.log(1 + omega / epsilon)
    return masked_mean(torch.where(x < omega, omega * torch.log1p(x / epsilon), x - constant), known, weight)


def rms(predicted: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Square root of the mean squared error of whitened parameters (B, P): SynergyNet's parameter loss."""
    known = target.isfinite()
    square = (predicted - torch.where(known, target, predicted.detach())).square()
    return (masked_mean(square, known, weight) + 1e-12).sqrt()


def vdc(predicted: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Vertex distance cost (Zhu et al. 2016, 4.3.2): mean squared distance of points (B, N, 3) in pixels."""
    known = target.isfinite()
    square = (predicted - torch.where(known, target, predicted.detach())).square()
    return 3 * masked_mean(square, known, weight)


def wpdc(predicted: Tensor, target: Tensor, importance: Tensor, weight: Tensor) -> Tensor:
    """Weighted parameter distance cost (Zhu et al. 2016, eq. 10) of whitened parameters (B, P).

    `importance` (B, P), from `parameter_importance`, is how far the vertices move by the error of that parameter alone.
    """
    known = target.isfinite()
    square = (predicted - torch.where(known, target, predicted.detach())).square()
    return masked_mean(importance * square, known, weight)


@torch.no_grad()
def parameter_importance(predicted: Tensor, target: Tensor, jacobian: Tensor) -> Tensor:
    """(B, P) weights in [0, 1] of WPDC: |error| times the length (P,) or (B, P) of each parameter's Jacobian column,
    divided by the largest in each face."""
    moved = (predicted - target).nan_to_num().abs() * jacobian
    return moved / moved.amax(-1, keepdim=True).clamp_min(1e-12)
