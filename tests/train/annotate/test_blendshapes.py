"""Scores of known scale and noise are understood, and they improve the weights that landmarks leave open."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from train.annotate.blendshapes import estimate_scores, scored_rows
from train.annotate.calibration import Calibration
from train.annotate.faces import PointModel
from train.annotate.fusion import label_faces
from train.annotate.observations import observation_matrix
from train.blendshape_scores import NAMES

SHAPES = ("jawOpen", "mouthSmileLeft", "browInnerUp", "notARKit", "eyeBlinkLeft")


@pytest.fixture
def scored(few_modes, make_truth, flat):
    """Faces with weights in 0..1, noisy annotations of 30 % of the points, and scores 0.6 w + noise of 0.05."""
    named = replace(few_modes, expression_names=SHAPES, expression_std=np.full(5, 0.3, np.float32))
    model = PointModel.create(named, observation_matrix())
    truth = make_truth(300, yaw_deg=20)
    coefficients = truth.faces.coefficients.clone()
    coefficients[:, 10:] = (coefficients[:, 10:].abs() * 0.3).clamp_max(1) / 0.3
    faces = replace(truth.faces, coefficients=coefficients)
    generator = torch.Generator().manual_seed(0)
    scores = 0.05 * torch.randn(300, 52, generator=generator)
    for i, name in enumerate(SHAPES):
        if name in NAMES:
            scores[:, NAMES.index(name)] += (0.6 * 0.3 * coefficients[:, 10 + i]).float()
    scores[::10] = torch.nan
    return model, faces, flat(faces.project(model), 2.0, hidden=0.7), scores


def test_scale_and_noise_are_estimated_and_weights_improve(scored):
    model, faces, annotated, scores = scored
    calibration = Calibration.default(model)
    rows = scored_rows(scores, annotated, torch.ones(300, dtype=torch.bool))
    assert len(rows) == 270
    alone = label_faces(model, annotated, faces, calibration)
    found = estimate_scores(model, alone.faces[rows], annotated[rows], calibration, scores[rows])
    assert [NAMES[i] for i in found.columns.tolist()] == [name for name in SHAPES if name in NAMES]
    assert found.modes.tolist() == [10, 11, 12, 14]
    assert ((found.scale > 0.5) & (found.scale < 0.8)).all()
    assert (found.variance.sqrt() < 0.12).all()
    target, precision = found.observe(model.n_coefficients, scores)
    assert (precision[::10] == 0).all()
    assert (precision[1, [10, 11, 12, 14]] > 0).all()
    assert precision[1, 13] == 0
    # Predictions with wrong weights: the scores must bring them nearer to the truth.
    wrong = faces.coefficients.clone()
    wrong[:, 10:] = 1.0
    predicted = replace(faces, coefficients=wrong)

    def error(labels):
        return float((labels.faces.coefficients - faces.coefficients)[1::10][:, [10, 11, 12, 14]].abs().mean())

    without = label_faces(model, annotated, predicted, calibration)
    with_scores = label_faces(model, annotated, predicted, calibration, None, (target, precision))
    assert error(with_scores) < 0.8 * error(without)


def test_models_without_names_and_few_faces_have_no_estimate(scored, few_modes):
    model, faces, annotated, scores = scored
    rows = scored_rows(scores, annotated, torch.ones(300, dtype=torch.bool))[:10]
    arguments = (faces[rows], annotated[rows], Calibration.default(model), scores[rows])
    assert estimate_scores(model, *arguments) is None
    unnamed = PointModel.create(few_modes, observation_matrix())
    rows = scored_rows(scores, annotated, torch.ones(300, dtype=torch.bool))
    assert estimate_scores(unnamed, faces[rows], annotated[rows], Calibration.default(unnamed), scores[rows]) is None


def test_names_are_those_of_the_scores(shared_data):
    assert tuple(np.load(shared_data / "mediapipe_blendshapes.npz")["names"].tolist()) == NAMES
