from dataclasses import replace

import torch

from train.annotate.calibration import Calibration
from train.annotate.faces import FaceParameters
from train.annotate.fusion import label_faces


def test_wrong_predictions_are_replaced_and_missing_ones_do_without(make_truth, flat):
    truth, wrong = make_truth(30), make_truth(30, seed=9)
    annotated = flat(truth.points, 0.3)
    predicted = FaceParameters(*(array.clone() for array in vars(truth.faces).values()))
    far = torch.arange(30) < 3
    predicted = wrong.faces.where(far, predicted)
    predicted.translation[:3] += 60
    predicted.log_scale[3:5] = torch.nan
    labels = label_faces(truth.model, annotated, predicted, Calibration.default(truth.model))
    error = (labels.faces.project(truth.model) - truth.points)[..., :2].norm(dim=-1).mean(-1)
    assert error.max() < 3
    assert labels.weight.min() > 0.5


def test_faces_with_bad_or_few_points_have_no_weight(make_truth, flat):
    truth = make_truth(20)
    annotated = flat(truth.points, 0.3)
    annotated[4] = annotated[4][torch.randperm(89, generator=torch.Generator().manual_seed(0))]
    annotated[7, 5:] = torch.nan
    annotated[8] = torch.nan
    labels = label_faces(truth.model, annotated, None, Calibration.default(truth.model))
    assert set(labels.weight.argsort()[:3].tolist()) == {4, 7, 8}
    assert labels.weight[[4, 7, 8]].max() < 0.05
    assert labels.n_points[7] == 5
    assert labels.residual[8].isnan()
    assert all(array.isfinite().all() for array in vars(labels.faces).values())


def test_labels_that_are_not_finite_have_no_weight(make_truth, flat):
    truth = make_truth(3)
    calibration = Calibration.default(truth.model)
    broken = replace(calibration, mean_coefficients=calibration.mean_coefficients * torch.nan)
    labels = label_faces(truth.model, flat(truth.points, 0.3), None, broken)
    assert labels.faces.coefficients.isnan().all()
    assert (labels.weight == 0).all()


def test_disagreement_of_teachers_decides_the_weight_of_faces_without_annotations(make_truth, flat):
    truth = make_truth(4)
    annotated = flat(truth.points, 0.3)
    annotated[:3] = torch.nan
    disagreement = torch.tensor([1.0, 4.0, torch.nan, 10.0], dtype=torch.float64)
    labels = label_faces(truth.model, annotated, truth.faces, Calibration.default(truth.model), disagreement)
    torch.testing.assert_close(labels.weight[:3], torch.tensor([0.5, 0.25, 0.5], dtype=torch.float64))
    assert labels.weight[3] > 0.9
    torch.testing.assert_close(labels.faces.rotation[:3], truth.faces.rotation[:3])
