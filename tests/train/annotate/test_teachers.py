"""Teachers with known errors get the weights that these errors deserve."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from synergy.errors import UserError
from synergy.geometry import geodesic_angle
from train.annotate.faces import PointModel
from train.annotate.predictions import Prediction
from train.annotate.teachers import (
    ABSOLUTE_YAW_BOUNDS_DEG,
    TeacherWeights,
    align_teachers,
    combine_teachers,
    estimate_weights,
    measure_disagreement,
)


def disturbed(truth, generator, angle, position):
    """The true faces with random errors of the rotation (radians), position (px) and coefficients."""
    step = torch.zeros(len(truth.faces), 7 + truth.model.n_coefficients, dtype=torch.float64)
    step[:, :3] = angle * torch.randn(len(step), 3, generator=generator, dtype=torch.float64)
    step[:, 4:6] = position * torch.randn(len(step), 2, generator=generator, dtype=torch.float64)
    step[:, 7:] = 0.02 * position * torch.randn(len(step), step.shape[1] - 7, generator=generator, dtype=torch.float64)
    return truth.faces.retract(step)


def as_prediction(name, faces, model, kind="solid"):
    landmarks = faces.landmarks(PointModel.create(model.morphable_model))
    if kind == "flat":
        return Prediction(name, landmarks[..., :2], None)
    return Prediction(name, None if kind == "pose" else landmarks, faces.rotation.numpy())


@pytest.fixture
def teachers(make_truth, flat):
    """Truth, annotations and aligned teachers: errors of 3, 1.5 (pose only) and 3 degrees; 4, - and 2 px."""
    generator = torch.Generator().manual_seed(0)
    truth = make_truth(300, yaw_deg=25)
    predictions = [
        as_prediction("pose", disturbed(truth, generator, np.radians(1.5), 4.0), truth.model, "pose"),
        as_prediction("base", disturbed(truth, generator, np.radians(3.0), 4.0), truth.model),
        as_prediction("flat", disturbed(truth, generator, np.radians(3.0), 2.0), truth.model, "flat"),
    ]
    return truth, flat(truth.points, 0.5), align_teachers(truth.model, predictions)


def test_the_first_3d_teacher_is_the_base_and_differences_lead_to_the_others(teachers):
    truth, _, aligned = teachers
    assert aligned.names == ("pose", "flat")
    assert aligned.pose_only.tolist() == [True, False]
    assert aligned.present.double().mean() > 0.95
    only_pose = TeacherWeights(aligned.names, torch.tensor([[1.0, 0.0]] * 7).double(), torch.zeros(7, 2).double())
    error = geodesic_angle(combine_teachers(aligned, only_pose).rotation, truth.faces.rotation).rad2deg()
    # Three components of 1.5 degrees have a root mean square length of 2.6 degrees.
    assert 2.0 < error[aligned.present[:, 0]].square().mean().sqrt() < 3.2


def test_weights_follow_the_errors_and_the_combination_is_better_than_each(teachers):
    truth, annotated, aligned = teachers
    weights = estimate_weights(truth.model, aligned, annotated)
    used = slice(0, 3)  # ranges up to 30 degrees
    # Inverse variances of the rotations: 1/9 base, 4/9 pose; the flat teacher is about as good as the base.
    assert (weights.rotation[used, 0] > 0.4).all()
    assert (weights.rotation[used].sum(1) < 1.05).all()
    # Inverse variances of the positions: 1/16 base, 1/4 flat.
    assert ((weights.shape[used, 1] > 0.6) & (weights.shape[used, 1] < 0.95)).all()
    assert (weights.shape[:, 0] == 0).all()
    combined = combine_teachers(aligned, weights)

    def error(faces):
        return float((faces.project(truth.model) - truth.points)[..., :2].norm(dim=-1).mean())

    both = torch.zeros_like(weights.rotation), torch.tensor([[0.0, 1.0]] * len(weights.shape)).double()
    flat_alone = combine_teachers(aligned, TeacherWeights(aligned.names, *both))
    assert error(combined) < 0.8 * error(aligned.base)
    assert error(combined) < error(flat_alone)


def test_missing_and_contradicting_predictions_are_not_used(make_truth, flat):
    truth, generator = make_truth(40), torch.Generator().manual_seed(1)
    base = as_prediction("base", truth.faces, truth.model)
    other = as_prediction("other", disturbed(truth, generator, 0.02, 1.0), truth.model)
    other.landmarks[0] = np.nan
    other.landmarks[1] += 60
    base.landmarks[2] = np.nan
    aligned = align_teachers(truth.model, [base, other])
    assert aligned.present[:, 0].tolist() == [False] * 3 + [True] * 37
    weights = TeacherWeights(("other",), torch.ones(7, 1).double(), torch.ones(7, 1).double())
    combined = combine_teachers(aligned, weights)
    assert combined.log_scale.isfinite().tolist() == [True, True, False] + [True] * 37
    torch.testing.assert_close(combined.rotation[:2], truth.faces.rotation[:2], atol=1e-3, rtol=0)
    disagreement = measure_disagreement(truth.model, aligned)
    assert disagreement[:3].isnan().all()
    assert (disagreement[3:] > 0.1).all()
    assert (estimate_weights(truth.model, aligned[torch.arange(2)], flat(truth.points[:2])).shape == 0).all()


def test_shares_are_of_the_rotation_for_pose_teachers_and_of_the_rest_for_others():
    estimated = TeacherWeights(
        ("pose", "flat"), torch.tensor([[0.5, 0.2]]).double(), torch.tensor([[0.0, 0.6]]).double()
    )
    pose_only = torch.tensor([True, False])
    shared = estimated.with_fixed_fractions({"pose": 0.3, "flat": 0.5}, pose_only)
    torch.testing.assert_close(shared.rotation, torch.tensor([[0.65, 0.14]]).double())
    torch.testing.assert_close(shared.shape, torch.tensor([[0.0, 0.8]]).double())
    unchanged = estimated.with_fixed_fractions({}, pose_only)
    assert torch.equal(unchanged.rotation, estimated.rotation)
    assert torch.equal(unchanged.shape, estimated.shape)
    with pytest.raises(
        UserError, match="no fixed fraction for the teacher gone: the teachers besides the base are pose, flat"
    ):
        estimated.with_fixed_fractions({"gone": 0.3}, pose_only)
    with pytest.raises(UserError, match="must not exceed 1"):
        estimated.with_fixed_fractions({"flat": 1.1}, pose_only)
    with pytest.raises(UserError, match="must be above 0"):
        estimated.with_fixed_fractions({"flat": 0.0}, pose_only)


def test_weights_are_saved_and_read(tmp_path):
    n = len(ABSOLUTE_YAW_BOUNDS_DEG) + 1
    weights = TeacherWeights(("a", "b"), torch.rand(n, 2).double(), torch.rand(n, 2).double())
    weights.save(tmp_path / "w.json")
    again = TeacherWeights.load(tmp_path / "w.json", ["b"])
    torch.testing.assert_close(again.rotation, weights.rotation[:, 1:])
    with pytest.raises(UserError, match="no weights of the teacher 'c'"):
        TeacherWeights.load(tmp_path / "w.json", ["a", "c"])
    for content in ("no json", '{"weights": {"a": {"rotation": [1], "shape": [1]}}}', '{"weights": {"a": 1}}'):
        (tmp_path / "bad.json").write_text(content)
        with pytest.raises(UserError, match="not a file of teacher weights"):
            TeacherWeights.load(tmp_path / "bad.json", ["a"])


def test_a_teacher_with_3d_landmarks_is_needed(make_truth):
    truth = make_truth(3)
    with pytest.raises(UserError, match="3D landmarks"):
        align_teachers(truth.model, [as_prediction("pose", truth.faces, truth.model, "pose")])


def test_bounded_models_keep_the_rotation_and_the_bounds(few_modes, make_truth):
    named = replace(few_modes, expression_names=tuple("abcde"))
    model, truth = PointModel.create(named), make_truth(5)
    base = as_prediction("base", truth.faces, truth.model)
    aligned = align_teachers(model, [base])
    torch.testing.assert_close(aligned.base.rotation, truth.faces.rotation, atol=1e-3, rtol=0)
    assert (aligned.base.coefficients >= model.bounds[0]).all()
    assert (aligned.base.coefficients <= model.bounds[1]).all()
    distance = (aligned.base.project(model) - truth.faces.project(PointModel.create(few_modes))).norm(dim=-1)
    assert distance.mean() < 3
