import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import lsq_linear

from bfm_assets import open_face
from synergy import blendshapes
from synergy.blendshapes import blendshape_weights
from synergy.demo import random_face

MODEL = open_face()
N = MODEL.n_expression


def landmarks(weights):
    return MODEL.vertices(np.zeros(1), np.asarray(weights))[MODEL.landmarks]


def test_coefficients_between_0_and_1_are_the_weights():
    coefficients = np.random.default_rng(0).uniform(0, 1, N)
    weights = blendshape_weights(MODEL, coefficients)
    assert tuple(weights) == MODEL.expression_names
    np.testing.assert_array_equal(list(weights.values()), coefficients)
    assert set(blendshape_weights(MODEL, np.zeros(N)).values()) == {0.0}


@settings(max_examples=20, deadline=None)
@given(arrays(np.float64, N, elements=st.floats(-3, 3)))
def test_weights_are_bounded_and_no_farther_from_the_face_than_clipping(coefficients):
    weights = np.array(list(blendshape_weights(MODEL, coefficients).values()))
    assert weights.min() >= 0
    assert weights.max() <= 1
    target = landmarks(coefficients)
    clipped = np.linalg.norm(landmarks(coefficients.clip(0, 1)) - target)
    assert np.linalg.norm(landmarks(weights) - target) <= clipped + 1e-3


def test_a_negative_weight_becomes_its_opposite():
    """Two modes that are each other's negatives: minus one of the first is one of the second."""
    basis = np.concatenate([MODEL.expression_basis[..., :1], -MODEL.expression_basis[..., :1]], -1)
    model = dataclasses.replace(
        MODEL, expression_basis=basis, expression_std=np.ones(2, np.float32), expression_names=("open", "close")
    )
    weights = blendshape_weights(model, np.array([-0.8, 0.0]))
    assert weights["open"] == pytest.approx(0, abs=1e-6)
    assert weights["close"] == pytest.approx(0.8, abs=0.02)


def test_a_model_without_names_has_none():
    assert blendshape_weights(dataclasses.replace(MODEL, expression_names=()), np.zeros(N)) == {}


def test_the_weights_of_a_face_drive_its_mesh():
    face = random_face((0, 0, 0), seed=1)
    model = face.morphable_model
    assert 0 <= min(face.blendshapes.values()) < max(face.blendshapes.values()) <= 1
    driven = dataclasses.replace(
        face, params=np.concatenate([face.params[:-N], list(face.blendshapes.values())]).astype(np.float32)
    )
    size = np.ptp(face.landmarks68[:, 1])
    distance = np.linalg.norm(driven.vertices() - face.vertices(), axis=1)[model.landmarks]
    assert distance.mean() < 0.01 * size


@pytest.mark.parametrize("name", [name for name in MODEL.expression_names if name.lower().endswith(("left", "right"))])
def test_left_and_right_are_the_subjects(name):
    """The subject's left has positive x in model space."""
    if name.lower() in ("jawleft", "jawright", "mouthleft", "mouthright", "jaw_left", "jaw_right"):
        moved = MODEL.expression_basis[MODEL.landmarks[48:68], 0, MODEL.expression_names.index(name)].mean()
    else:
        index = MODEL.expression_names.index(name)
        motion = np.linalg.norm(MODEL.expression_basis[..., index], axis=1)
        moved = (motion * MODEL.mean[:, 0]).sum() / motion.sum()
    assert (moved > 0) == name.lower().endswith("left")


@pytest.mark.parametrize("max_steps", [30, 1])
@pytest.mark.parametrize("spread", [0.1, 0.5, 3.0])
def test_the_minimum_is_that_of_scipy(monkeypatch, spread, max_steps):
    monkeypatch.setattr(blendshapes, "_MAX_STEPS", max_steps)
    rng = np.random.default_rng(0)
    basis = MODEL.expression_basis[MODEL.landmarks].reshape(-1, N).astype(np.float64)
    matrix = np.concatenate([basis, 0.1 * np.sqrt((basis**2).sum() / N) * np.eye(N)])
    for _ in range(20):
        coefficients = rng.normal(0.1, spread, N)
        start = coefficients.clip(0, 1)
        target = np.concatenate([basis @ coefficients, matrix[-N:] @ start])
        found = blendshapes._bounded_least_squares(matrix, target, start)
        expected = lsq_linear(matrix, target, bounds=(0, 1), method="bvls", tol=1e-14).x
        np.testing.assert_allclose(found, expected, atol=1e-6)
