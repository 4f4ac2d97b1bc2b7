import itertools

import numpy as np
import pytest

from synergy.demo import random_face
from synergy.tracking.matching import Expectation, assign, cost, identity_of, overlap
from synergy.tracking.smoothing import face_size


@pytest.mark.parametrize("seed", range(20))
def test_assignment_is_the_best_of_all_assignments(seed):
    rng = np.random.default_rng(seed)
    n, m = rng.integers(0, 5, 2)
    costs = rng.uniform(0, 1, (n, m))
    costs[rng.uniform(size=(n, m)) < 0.3] = np.inf
    pairs = assign(costs)

    def value(chosen):
        return -len(chosen), sum(costs[i, j] for i, j in chosen)

    every = [
        [(i, j) for i, j in zip(rows, columns, strict=True)]
        for k in range(min(n, m) + 1)
        for rows in itertools.combinations(range(n), k)
        for columns in itertools.permutations(range(m), k)
    ]
    best = min(value(chosen) for chosen in every if all(np.isfinite(costs[i, j]) for i, j in chosen))
    assert value(pairs) == pytest.approx(best)


def test_overlap_is_counted_in_pixels():
    rng = np.random.default_rng(0)
    corners = rng.integers(0, 20, (6, 2, 2))
    boxes = np.concatenate([corners.min(1), corners.max(1) + 1], -1)
    masks = np.zeros((6, 25, 25), bool)
    for mask, (x0, y0, x1, y1) in zip(masks, boxes, strict=True):
        mask[y0:y1, x0:x1] = True
    expected = [[(a & b).sum() / (a | b).sum() for b in masks] for a in masks]
    np.testing.assert_allclose(overlap(boxes, boxes), expected)
    assert overlap(boxes[:0], boxes).shape == (0, 6)


def test_cost_grows_with_distance_size_and_identity():
    image = np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8)
    face, other = random_face((0, 0, 0), seed=0), random_face((0, 0, 0), seed=1)
    identity = identity_of(image, face)
    centre, size = face.landmarks68[:, :2].mean(0), face_size(face)
    here = Expectation(centre[None], size, identity, 0.03)
    assert cost(here, face, identity) < 1e-6
    costs = [
        cost(here, face, identity),
        cost(here, other, identity_of(255 - image, other)),
    ]
    assert costs[0] < costs[1]
    aside = here._replace(centres=centre[None] + [size, 0])
    assert cost(aside, face, identity) == pytest.approx(1 / 1.045)
    assert cost(here._replace(size=size * np.e), face, identity) == pytest.approx(1)
    assert cost(aside._replace(centres=centre[None] + 5 * size), face, identity) == np.inf
    # The nearest of several places counts, and what a covered face looks like counts less.
    assert cost(aside._replace(centres=np.array([centre + 5 * size, centre])), face, identity) == pytest.approx(0)
    assert cost(here._replace(size=size * np.e), face, identity, is_covered=True) == pytest.approx(0.4)
    # After a longer time, the same distance means less.
    assert cost(aside._replace(seconds=2.0), face, identity) < 0.3
