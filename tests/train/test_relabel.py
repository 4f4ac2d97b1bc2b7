"""Coefficients that are fitted to landmarks and blendshape scores."""

from __future__ import annotations

import numpy as np
import torch

from bfm_assets import open_face
from synergy.geometry import euler_to_matrix, flip_y
from synergy.parameters import split_parameters
from train.blendshape_scores import NAMES
from train.relabel import fit_coefficients


def test_scores_decide_what_landmarks_leave_open() -> None:
    model = open_face()
    rng = np.random.default_rng(0)
    n = 200
    weights = rng.uniform(0, 1, (n, model.n_expression)) * (rng.random((n, model.n_expression)) < 0.2)
    shape = rng.standard_normal((n, model.n_shape)) * model.shape_std
    vertices = model.landmark_model()
    points = vertices.mean + np.einsum("pdk,nk->npd", vertices.basis, np.concatenate([shape, weights], 1))
    angles = torch.from_numpy(rng.uniform(-0.5, 0.5, (n, 3)))
    rotation = euler_to_matrix(angles).numpy().astype(np.float32)
    scale = 80 / np.ptp(vertices.mean[:, 0])
    landmarks = flip_y(scale * points @ rotation.transpose(0, 2, 1) + [60, 60, 0], 120)
    landmarks += rng.normal(0, 0.8, landmarks.shape)
    scores = np.full((n, 52), 0.02)
    for i, name in enumerate(model.expression_names):
        if name in NAMES:
            scores[:, NAMES.index(name)] = 0.8 * weights[:, i]
    scores += rng.normal(0, 0.03, scores.shape)
    scores[::10] = np.nan
    known = np.isfinite(scores).all(1)

    def error(params: np.ndarray) -> np.ndarray:
        return np.abs(split_parameters(params, model.n_shape)[2] - weights).mean(1)

    landmarks = landmarks.astype(np.float32)
    without = fit_coefficients(model, landmarks, rotation)
    fitted = fit_coefficients(model, landmarks, rotation, scores=scores)
    assert error(fitted)[known].mean() < 0.5 * error(without)[known].mean()
    np.testing.assert_array_equal(fitted[~known], without[~known])
    nothing = fit_coefficients(model, landmarks, rotation, scores=np.full((n, 52), np.nan))
    np.testing.assert_array_equal(nothing, without)
