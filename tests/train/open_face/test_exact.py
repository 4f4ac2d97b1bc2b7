"""Exact products and eigenvectors."""

from __future__ import annotations

import numpy as np
import pytest

from train.open_face.exact import eigenvectors, product


def test_product_is_exact_in_any_order() -> None:
    rng = np.random.default_rng(0)
    a, b = (rng.integers(-(2**20), 2**20, shape).astype(float) for shape in ((30, 4000), (4000, 20)))
    wanted = a.astype(np.int64) @ b.astype(np.int64)
    order = rng.permutation(4000)
    assert np.array_equal(product(a, b), wanted)
    assert np.array_equal(product(a[:, order], b[order]), wanted)


@pytest.mark.parametrize(
    ("a", "message"),
    [(np.full((2, 2), 0.5), "whole numbers"), (np.full((2, 2), 2.0**27), "would not be exact")],
)
def test_products_that_would_be_rounded_are_refused(a: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        product(a, a.T)


@pytest.mark.parametrize("count", [1, 2, 7, 40])
def test_eigenvectors_are_numpys(count: int) -> None:
    half = np.random.default_rng(count).normal(size=(count, count))
    matrix = half @ half.T
    values, vectors = eigenvectors(matrix)
    np.testing.assert_allclose(values, np.linalg.eigvalsh(matrix)[::-1], rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(matrix @ vectors, vectors * values, atol=1e-9 * values[0])
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(count), atol=1e-12)
    peak = np.abs(vectors).argmax(0)
    assert (vectors[peak, np.arange(count)] > 0).all()
