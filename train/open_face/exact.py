"""Geometry and linear algebra with the same result on every machine.

Sums of floating-point numbers depend on their order, and the order depends on the processor and on the number of
threads. Here matrix products are taken of whole numbers so small that every partial sum is exact in float64, and the
eigenvectors come from Jacobi's method, written with operations that IEEE 754 defines to the last bit.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from train.open_face.arrays import Floats

_EXACT = 2.0**53
_SWEEPS = 40


def cross(a: Floats, b: Floats) -> Floats:
    """Return the cross products (..., 3) of vectors (..., 3)."""
    return np.stack(
        [
            a[..., 1] * b[..., 2] - a[..., 2] * b[..., 1],
            a[..., 2] * b[..., 0] - a[..., 0] * b[..., 2],
            a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0],
        ],
        -1,
    )


def dot(a: Floats, b: Floats) -> Floats:
    """Return the scalar products (...) of vectors (..., 3), summed in the order of the axes."""
    return a[..., 0] * b[..., 0] + a[..., 1] * b[..., 1] + a[..., 2] * b[..., 2]


def length(a: Floats) -> Floats:
    """Return the lengths (...) of vectors (..., 3)."""
    return np.asarray(np.sqrt(dot(a, a)))


def product(a: Floats, b: Floats) -> Floats:
    """Multiply two matrices of whole numbers (N, K) and (K, M) exactly.

    Raises:
        ValueError: An entry is not whole, or a partial sum could exceed 2^53.
    """
    if (a != np.rint(a)).any() or (b != np.rint(b)).any():
        raise ValueError("exact products need whole numbers")
    if a.size and b.size and np.abs(a).max() * np.abs(b).max() * a.shape[1] >= _EXACT:
        raise ValueError("the sums of this product would not be exact")
    return np.asarray(a @ b)


def eigenvectors(matrix: Floats) -> tuple[Floats, Floats]:
    """Diagonalise a symmetric matrix (N, N) by Jacobi rotations of disjoint pairs of rows.

    Golub and Van Loan, "Matrix Computations", 8.5 (parallel Jacobi). Eigenvectors are signed so that the component of
    largest magnitude is positive.

    Returns:
        Eigenvalues (N,), largest first, and the eigenvectors as columns (N, N).
    """
    count = len(matrix)
    size = count + count % 2
    a = np.zeros((size, size))
    a[:count, :count] = matrix
    vectors = np.eye(size)
    order = np.arange(size)
    scale = np.abs(matrix).max()
    for _ in range(_SWEEPS):
        if np.abs(a - np.diag(np.diag(a))).max() <= 1e-15 * scale:
            break
        for _ in range(size - 1):
            _rotate(a, vectors, order[: size // 2], order[size // 2 :][::-1])
            order = np.concatenate([order[:1], np.roll(order[1:], 1)])
    values = np.diag(a)[:count]
    largest_first = np.argsort(-values, kind="stable")
    vectors = vectors[:count, largest_first]
    peak = np.abs(vectors).argmax(0)
    return values[largest_first], vectors * np.where(vectors[peak, np.arange(count)] < 0, -1.0, 1.0)


def _rotate(a: Floats, vectors: Floats, p: NDArray[np.intp], q: NDArray[np.intp]) -> None:
    """Apply the rotations that make a[p, q] zero for all pairs at once, in place."""
    off = a[p, q]
    active = off != 0
    theta = (a[q, q] - a[p, p]) / np.where(active, 2 * off, 1.0)
    tangent = np.where(theta < 0, -1.0, 1.0) / (np.abs(theta) + np.sqrt(theta * theta + 1))
    tangent = np.where(active, tangent, 0.0)
    c = 1 / np.sqrt(tangent * tangent + 1)
    s = tangent * c
    for rows in (a, a.T, vectors.T):
        upper, lower = rows[p], rows[q]
        rows[p] = c[:, None] * upper - s[:, None] * lower
        rows[q] = s[:, None] * upper + c[:, None] * lower
