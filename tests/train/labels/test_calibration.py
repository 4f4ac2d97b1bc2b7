import torch

from train.labels.calibration import YAW_BOUNDS, Calibration, Frame, Group, calibrate, yaw_deg
from train.labels.combine import combine, evidence_only, residuals


def disturbed(truth, generator, angle=0.06, coefficients=0.5):
    """Predictions: the true faces with random errors of pose and coefficients."""
    n, q = len(truth.faces), 7 + truth.basis.modes.shape[-1]
    step = torch.randn(n, q, generator=generator, dtype=torch.float64)
    step[:, :3] *= angle
    step[:, 3] *= 0.02
    step[:, 4:6] *= 1.5
    step[:, 6] = 0
    step[:, 7:] *= coefficients
    return truth.faces.moved(step)


def labelled(truth, generator, offset, noise):
    """Hand labels: true points, plus an offset in the canonical frame, plus noise; face sizes."""
    frame = Frame.of(truth.faces)
    points = frame.points(truth.points)
    scatter = noise * torch.randn(*points.shape[:2], 2, generator=generator, dtype=torch.float64)
    points = points + torch.nn.functional.pad(offset + scatter, (0, 1))
    back = (points * frame.scale[:, None, None]) @ frame.turn + frame.origin[:, None]
    back[..., 2] = torch.nan
    return back


def test_frame_round_trips_and_is_upright(make_truth):
    faces = make_truth(5).faces
    frame = Frame.of(faces)
    canonical = frame.faces(faces)
    assert canonical.rotation[:, 0, 1].abs().max() < 1e-12
    assert (canonical.rotation[:, 1, 1] > 0).all()
    assert canonical.log_scale.abs().max() < 1e-12
    for mine, theirs in zip(vars(frame.back(canonical)).values(), vars(faces).values(), strict=True):
        torch.testing.assert_close(mine, theirs)


def test_frame_keeps_x_and_y_where_z_is_unknown(make_truth, flat):
    truth = make_truth(3)
    frame = Frame.of(truth.faces)
    moved = frame.points(flat(truth.points))
    torch.testing.assert_close(moved[..., :2], frame.points(truth.points)[..., :2])
    assert moved[..., 2].isnan().all()


def test_yaw_is_the_face_axis_whatever_the_roll(make_truth):
    from synergy.geometry import euler_to_matrix

    yaws = torch.tensor([-80.0, 0.0, 35.0])
    angles = torch.stack([torch.zeros(3), yaws.deg2rad(), torch.zeros(3)], -1).double()
    faces = make_truth(3).faces
    tilt = euler_to_matrix(torch.tensor([0.0, 0.0, 0.7], dtype=torch.float64))
    turned = type(faces)(tilt @ euler_to_matrix(angles), faces.log_scale, faces.translation, faces.coefficients)
    torch.testing.assert_close(yaw_deg(turned), yaws.double())


def test_calibration_finds_offset_noise_and_error(make_truth):
    generator = torch.Generator().manual_seed(0)
    truth = make_truth(200, yaw_deg=10)
    offset = 0.03 * torch.randn(89, 2, generator=generator, dtype=torch.float64)
    hand = labelled(truth, generator, offset, 0.01)
    predicted = disturbed(truth, generator)
    group = calibrate(truth.basis, predicted, hand, Group.guess(truth.basis), 1.0, iterations=10)
    assert (group.offset - offset).norm(dim=-1).mean() < 0.01
    noise = group.noise.diagonal(dim1=-2, dim2=-1).mean().sqrt()
    assert 0.007 < noise < 0.013
    spread = group.covariance.diagonal().sqrt()
    assert ((spread[:2] > 0.04) & (spread[:2] < 0.08)).all()


def test_what_all_labels_say_differently_is_their_convention_even_if_the_model_could_follow(make_truth):
    """Jaws traced along the silhouette look like faces turned less; the network's mean pose must survive them."""
    generator = torch.Generator().manual_seed(3)
    truth = make_truth(300, yaw_deg=10)
    turned = torch.zeros(1, 7 + truth.basis.modes.shape[-1], dtype=torch.float64)
    turned[:, 1] = 0.08
    mean_face = Frame.of(truth.faces).faces(truth.faces)[0:1]
    offset = (mean_face.moved(turned).points(truth.basis) - mean_face.points(truth.basis))[0, :, :2]
    hand = labelled(truth, generator, offset, 0.01)
    predicted = disturbed(truth, generator)
    calibration = Calibration.learn(truth.basis, predicted, hand)
    combined = combine(truth.basis, predicted, hand, calibration).faces
    assert abs(yaw_deg(combined).mean() - yaw_deg(truth.faces).mean()) < 1.0
    assert (yaw_deg(combined) - yaw_deg(truth.faces)).std() < (yaw_deg(predicted) - yaw_deg(truth.faces)).std()


def test_combination_beats_both_and_residuals_know_the_noise(make_truth):
    generator = torch.Generator().manual_seed(1)
    truth = make_truth(120, yaw_deg=10)
    offset = 0.04 * torch.randn(89, 2, generator=generator, dtype=torch.float64)
    hand, predicted = labelled(truth, generator, offset, 0.04), disturbed(truth, generator, 0.04, 0.4)
    hand[torch.rand(120, 89, generator=generator) < 0.6] = torch.nan
    calibration = Calibration.learn(truth.basis, predicted, hand)

    def error(faces):
        return float((faces.points(truth.basis) - truth.points)[..., :2].norm(dim=-1).mean())

    both = combine(truth.basis, predicted, hand, calibration)
    alone = evidence_only(truth.basis, hand, calibration)
    unaware = evidence_only(truth.basis, hand, Calibration.guess(truth.basis))
    assert error(both.faces) < 0.7 * error(predicted)
    assert error(both.faces) < 0.9 * error(alone.faces)
    assert error(alone.faces) < error(unaware.faces)
    _, ratio = residuals(truth.basis, both.faces, hand, calibration)
    assert 0.8 < float(ratio[ratio.isfinite()].square().mean() / 2) < 1.3


def test_calibration_is_saved_and_read(tmp_path, basis):
    calibration = Calibration.guess(basis)
    calibration.save(tmp_path / "c.npz")
    again = Calibration.load(tmp_path / "c.npz")
    assert len(again.groups) == len(YAW_BOUNDS) + 1
    torch.testing.assert_close(again.groups[2].noise, calibration.groups[2].noise)
    assert again.groups[0].n_faces == 0
