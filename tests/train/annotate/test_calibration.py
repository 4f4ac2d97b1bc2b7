import torch

from synergy.geometry import euler_to_matrix
from train.annotate.calibration import (
    SIGNED_YAW_BOUNDS_DEG,
    Calibration,
    CanonicalFrame,
    ErrorModel,
    estimate_errors,
    yaw_deg,
)
from train.annotate.fusion import FusionFactors, fit_annotations, fuse, measure_residuals


def disturbed(truth, generator, angle=0.06, coefficients=0.5):
    """Predictions: the true faces with random errors of pose and coefficients."""
    n, q = len(truth.faces), 7 + truth.model.n_coefficients
    step = torch.randn(n, q, generator=generator, dtype=torch.float64)
    step[:, :3] *= angle
    step[:, 3] *= 0.02
    step[:, 4:6] *= 1.5
    step[:, 6] = 0
    step[:, 7:] *= coefficients
    return truth.faces.retract(step)


def labelled(truth, generator, bias, noise):
    """Annotations: true points plus bias plus noise, both in face sizes of the canonical frame."""
    frame = CanonicalFrame.create(truth.faces)
    points = frame.convert_points(truth.points)
    errors_of_points = noise * torch.randn(*points.shape[:2], 2, generator=generator, dtype=torch.float64)
    points = points + torch.nn.functional.pad(bias + errors_of_points, (0, 1))
    back = (points * frame.scale[:, None, None]) @ frame.rotation + frame.origin[:, None]
    back[..., 2] = torch.nan
    return back


def test_frame_round_trips_and_is_upright(make_truth):
    faces = make_truth(5).faces
    frame = CanonicalFrame.create(faces)
    canonical = frame.convert(faces)
    assert canonical.rotation[:, 0, 1].abs().max() < 1e-12
    assert (canonical.rotation[:, 1, 1] > 0).all()
    assert canonical.log_scale.abs().max() < 1e-12
    for mine, theirs in zip(vars(frame.convert_back(canonical)).values(), vars(faces).values(), strict=True):
        torch.testing.assert_close(mine, theirs)


def test_frame_keeps_x_and_y_where_z_is_unknown(make_truth, flat):
    truth = make_truth(3)
    frame = CanonicalFrame.create(truth.faces)
    moved = frame.convert_points(flat(truth.points))
    torch.testing.assert_close(moved[..., :2], frame.convert_points(truth.points)[..., :2])
    assert moved[..., 2].isnan().all()


def test_yaw_is_the_face_axis_whatever_the_roll(make_truth):
    yaws = torch.tensor([-80.0, 0.0, 35.0])
    angles = torch.stack([torch.zeros(3), yaws.deg2rad(), torch.zeros(3)], -1).double()
    faces = make_truth(3).faces
    tilt = euler_to_matrix(torch.tensor([0.0, 0.0, 0.7], dtype=torch.float64))
    rotated = type(faces)(tilt @ euler_to_matrix(angles), faces.log_scale, faces.translation, faces.coefficients)
    torch.testing.assert_close(yaw_deg(rotated), yaws.double())


def test_bias_noise_and_prediction_covariance_are_estimated(make_truth):
    generator = torch.Generator().manual_seed(0)
    truth = make_truth(200, yaw_deg=10)
    bias = 0.03 * torch.randn(89, 2, generator=generator, dtype=torch.float64)
    annotated = labelled(truth, generator, bias, 0.01)
    predicted = disturbed(truth, generator)
    errors, n_faces = estimate_errors(truth.model, predicted, annotated, ErrorModel.default(truth.model), 1.0)
    assert n_faces == 200
    assert (errors.bias - bias).norm(dim=-1).mean() < 0.01
    noise = errors.noise.diagonal(dim1=-2, dim2=-1).mean().sqrt()
    assert 0.007 < noise < 0.013
    spread = errors.covariance.diagonal().sqrt()
    assert ((spread[:2] > 0.04) & (spread[:2] < 0.08)).all()


def test_bias_that_the_model_could_explain_does_not_rotate_faces(make_truth):
    """Jaws annotated along the silhouette look like faces with less yaw. The mean predicted pose must stay."""
    generator = torch.Generator().manual_seed(3)
    truth = make_truth(300, yaw_deg=10)
    step = torch.zeros(1, 7 + truth.model.n_coefficients, dtype=torch.float64)
    step[:, 1] = 0.08
    mean_face = CanonicalFrame.create(truth.faces).convert(truth.faces)[0:1]
    bias = (mean_face.retract(step).project(truth.model) - mean_face.project(truth.model))[0, :, :2]
    annotated = labelled(truth, generator, bias, 0.01)
    predicted = disturbed(truth, generator)
    calibration = Calibration.estimate(truth.model, predicted, annotated)
    fused = fuse(truth.model, predicted, annotated, calibration, factors=FusionFactors(1.0, 1.0)).faces
    assert abs(yaw_deg(fused).mean() - yaw_deg(truth.faces).mean()) < 1.0
    assert (yaw_deg(fused) - yaw_deg(truth.faces)).std() < (yaw_deg(predicted) - yaw_deg(truth.faces)).std()


def test_fusion_beats_both_and_residuals_follow_the_noise(make_truth):
    generator = torch.Generator().manual_seed(1)
    truth = make_truth(120, yaw_deg=10)
    bias = 0.04 * torch.randn(89, 2, generator=generator, dtype=torch.float64)
    annotated, predicted = labelled(truth, generator, bias, 0.04), disturbed(truth, generator, 0.04, 0.4)
    annotated[torch.rand(120, 89, generator=generator) < 0.6] = torch.nan
    calibration = Calibration.estimate(truth.model, predicted, annotated)

    def error(faces):
        return float((faces.project(truth.model) - truth.points)[..., :2].norm(dim=-1).mean())

    both = fuse(truth.model, predicted, annotated, calibration, factors=FusionFactors(1.0, 1.0))
    alone = fit_annotations(truth.model, annotated, calibration)
    unaware = fit_annotations(truth.model, annotated, Calibration.default(truth.model))
    assert error(both.faces) < 0.7 * error(predicted)
    assert error(both.faces) < 0.9 * error(alone.faces)
    assert error(alone.faces) < error(unaware.faces)
    _, ratio = measure_residuals(truth.model, both.faces, annotated, calibration)
    assert 0.8 < float(ratio[ratio.isfinite()].square().mean() / 2) < 1.3


def test_calibration_is_saved_and_read(tmp_path, point_model):
    calibration = Calibration.default(point_model)
    calibration.save(tmp_path / "c.npz")
    again = Calibration.load(tmp_path / "c.npz", point_model)
    assert len(again.errors) == len(SIGNED_YAW_BOUNDS_DEG) + 1
    torch.testing.assert_close(again.errors.noise, calibration.errors.noise)
    assert again.n_faces.sum() == 0


def test_without_predictions_the_mean_coefficients_are_zero(make_truth):
    truth = make_truth(3)
    none = torch.zeros(3, dtype=torch.bool)
    calibration = Calibration.estimate(truth.model, truth.faces[none], truth.points[none])
    assert all(value.isfinite().all() for value in vars(calibration.errors).values())
    assert (calibration.mean_coefficients == 0).all()
