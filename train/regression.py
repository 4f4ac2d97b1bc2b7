"""Linear least squares with a ridge penalty."""

from __future__ import annotations

import torch
from torch import Tensor


def ridge_regression(
    inputs: Tensor, targets: Tensor, ridge: float, weight: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Fit `targets = inputs @ matrix.T + bias`.

    Args:
        inputs: (N, F).
        targets: (N, M).
        ridge: strength of the penalty on the matrix, relative to the mean variance of the inputs. The bias has none.
        weight: (N,) weight of each row, equal weights by default.

    Returns:
        Matrix (M, F) and bias (M,), in float64.

    Example:
        >>> x = torch.tensor([[0.0], [1.0], [2.0]])
        >>> matrix, bias = ridge_regression(x, 3 * x + 5, ridge=1e-9)
        >>> round(matrix.item(), 4), round(bias.item(), 4)
        (3.0, 5.0)
    """
    x, y = inputs.double(), targets.double()
    fraction = torch.full_like(x[:, 0], 1 / len(x)) if weight is None else weight.double() / weight.double().sum()
    x_mean, y_mean = fraction @ x, fraction @ y
    weighted = (x - x_mean) * fraction[:, None]
    gram = weighted.T @ (x - x_mean)
    gram += ridge * gram.diagonal().mean() * torch.eye(len(gram)).to(gram)
    matrix = torch.linalg.solve(gram, weighted.T @ (y - y_mean)).T
    return matrix, y_mean - matrix @ x_mean
