from dataclasses import replace

import pytest
import torch

from bfm_assets import read_bfm68
from synergy.camera import project_plain
from synergy.geometry import geodesic_angle
from synergy.landmarks import FLIP68
from train.labels.fit import (
    Basis,
    Faces,
    Prior,
    aligned_faces,
    fit,
    normal_equations,
    rotation_from_vector,
    vector_from_rotation,
)


def isotropic(points: torch.Tensor, sigma: float) -> torch.Tensor:
    """Precisions of 2D points (N, P, 3), zero for NaN."""
    precision = torch.diag(torch.tensor([1.0, 1.0, 0.0], dtype=torch.float64)) / sigma**2
    return precision * points[..., :2].isfinite().all(-1)[..., None, None]


def test_jacobian_matches_finite_differences(make_truth):
    truth = make_truth(3)
    jacobian = truth.faces.jacobian(truth.basis)
    h = 1e-6
    for q in range(jacobian.shape[-1]):
        step = torch.zeros(3, jacobian.shape[-1], dtype=torch.float64)
        step[:, q] = h
        ahead, behind = truth.faces.moved(step), truth.faces.moved(-step)
        numeric = (ahead.points(truth.basis) - behind.points(truth.basis)) / (2 * h)
        torch.testing.assert_close(jacobian[..., q], numeric, atol=1e-6, rtol=1e-6)


def test_normal_equations_equal_the_explicit_product(make_truth):
    truth = make_truth(4)
    points = truth.points + torch.randn(4, 89, 3, dtype=torch.float64)
    root = torch.randn(4, 89, 3, 3, dtype=torch.float64)
    precision = root @ root.mT
    normal, gradient = normal_equations(truth.basis, points, precision, truth.faces)
    jacobian = truth.faces.jacobian(truth.basis).flatten(1, 2)
    weighted = (precision @ truth.faces.jacobian(truth.basis)).flatten(1, 2)
    torch.testing.assert_close(normal, jacobian.mT @ weighted)
    torch.testing.assert_close(gradient, (weighted.mT @ (truth.points - points).flatten(1)[..., None])[..., 0])


def test_rotation_vectors_round_trip():
    vectors = torch.tensor([[0.0, 0, 0], [1e-12, 0, 0], [0.3, -0.5, 1.0], [0, 3.0, 0]], dtype=torch.float64)
    torch.testing.assert_close(vector_from_rotation(rotation_from_vector(vectors)), vectors, atol=1e-9, rtol=0)


def test_parameters_round_trip_and_project_as_the_camera_does(few_modes, make_truth):
    truth, basis = make_truth(5), Basis.of(few_modes)
    params = truth.faces.parameters(basis, 200.0)
    again = Faces.from_parameters(basis, params, 200.0)
    torch.testing.assert_close(again.points(basis), truth.faces.points(basis))
    vertices = torch.from_numpy(few_modes.vertices(params[:, 12:22].numpy(), params[:, 22:].numpy())).double()
    expected = project_plain(vertices, params[:, :12], 200.0) * torch.tensor([1.0, -1.0, 1.0])
    torch.testing.assert_close(truth.faces.points(basis), expected, atol=1e-3, rtol=0)


# noise (px of faces about 100 px high) and share of hidden points -> bounds of the mean landmark error (px) and of the
# median error of the rotation (degrees)
RECOVERY = [
    # noise  hidden  pixels  degrees
    (0.0, 0.0, 0.5, 1.5),
    (0.5, 0.0, 0.7, 2.0),
    (0.5, 0.3, 0.8, 2.0),
    (1.0, 0.5, 1.3, 3.0),
]


@pytest.mark.parametrize(("noise", "hidden", "pixels", "degrees"), RECOVERY)
def test_known_faces_are_recovered_from_noisy_partial_projections(make_truth, flat, noise, hidden, pixels, degrees):
    truth = make_truth(40)
    hand = flat(truth.points, noise, hidden)
    found = fit(truth.basis, hand, isotropic(hand, max(noise, 0.3)))
    error = (found.faces.points(truth.basis) - truth.points)[..., :2].norm(dim=-1).mean()
    turned = geodesic_angle(found.faces.rotation, truth.faces.rotation).rad2deg().median()
    assert error < pixels
    assert turned < degrees
    assert found.converged.double().mean() > 0.9


def test_robust_weights_survive_gross_outliers(make_truth, flat):
    truth = make_truth(20)
    hand = flat(truth.points, 0.3)
    hand[:, 40:44, :2] += 40
    found = fit(truth.basis, hand, isotropic(hand, 0.5))
    error = (found.faces.points(truth.basis) - truth.points)[..., :2].norm(dim=-1)
    assert error.mean() < 1.0
    assert found.point_weight[:, 40:44].median() < 0.1 < 0.5 < found.point_weight[:, :40].median()


def test_fit_is_equivariant_to_image_scale_and_shift(make_truth, flat):
    truth = make_truth(10)
    hand = flat(truth.points, 0.5)
    moved = hand * 3 + torch.tensor([50.0, -20.0, 0.0])
    first = fit(truth.basis, hand, isotropic(hand, 0.5)).faces.points(truth.basis)
    second = fit(truth.basis, moved, isotropic(moved, 1.5)).faces.points(truth.basis)
    expected = first[..., :2] * 3 + torch.tensor([50.0, -20.0])
    torch.testing.assert_close(second[..., :2], expected, atol=0.1, rtol=0)


def test_fit_is_equivariant_to_mirroring(few_modes, make_truth, flat):
    """With a basis that holds each mode and its mirror image, the prior has no side."""
    plain, flip = Basis.of(few_modes), torch.tensor([-1.0, 1.0, 1.0], dtype=torch.float64)
    order = torch.from_numpy(FLIP68)
    mean = plain.mean - plain.mean.mean(0)
    mean = (mean + mean[order] * flip) / 2
    modes = torch.cat([plain.modes, plain.modes[order] * flip[:, None]], -1)
    basis = replace(plain, mean=mean, modes=modes)
    hand = flat(make_truth(10).points[:, :68], 0.5)
    mirrored = hand[:, order] * torch.tensor([-1.0, 1.0, 1.0])
    first = fit(basis, hand, isotropic(hand, 0.5)).faces.points(basis)
    second = fit(basis, mirrored, isotropic(mirrored, 0.5)).faces.points(basis)
    torch.testing.assert_close(second[..., :2], (first[:, order] * flip)[..., :2], atol=0.1, rtol=0)


def test_3d_points_settle_what_2d_points_leave_open(make_truth):
    truth = make_truth(10, yaw_deg=80)
    precision = torch.eye(3, dtype=torch.float64).expand(10, 89, 3, 3) / 0.1**2
    found = fit(truth.basis, truth.points, precision)
    torch.testing.assert_close(found.faces.points(truth.basis), truth.points, atol=0.2, rtol=0)


def test_alignment_start_is_exact_for_the_mean_face(basis, make_truth):
    faces = replace(make_truth(6, yaw_deg=90).faces, coefficients=torch.zeros(6, basis.modes.shape[-1]).double())
    found = aligned_faces(basis, faces.points(basis))
    torch.testing.assert_close(found.points(basis), faces.points(basis))


def test_prior_holds_where_there_is_no_evidence_and_yields_when_contradicted(make_truth, flat):
    truth = make_truth(8)
    q = 7 + truth.basis.modes.shape[-1]
    wrong = truth.faces.moved(
        torch.cat([torch.full((8, 3), 0.15), torch.zeros(8, 4), torch.full((8, q - 7), 0.5)], 1).double()
    )
    precision = torch.eye(q, dtype=torch.float64).expand(8, q, q) * 100
    nothing = torch.full((8, 89, 3), torch.nan, dtype=torch.float64)
    held = fit(truth.basis, nothing, isotropic(nothing, 1.0), Prior(wrong, precision))
    torch.testing.assert_close(held.faces.points(truth.basis), wrong.points(truth.basis))
    hand = flat(truth.points)
    free = fit(truth.basis, hand, isotropic(hand, 0.3), Prior(wrong, precision, dof=5.0), iterations=40)
    firm = fit(truth.basis, hand, isotropic(hand, 0.3), Prior(wrong, precision), iterations=40)
    assert (free.prior_weight < 0.3).all()
    assert (firm.prior_weight == 1).all()
    for found, bound in ((free, 0.3), (firm, 1.5)):
        assert (found.faces.points(truth.basis) - truth.points)[..., :2].norm(dim=-1).mean() < bound


def test_bfm68_basis_fits_real_hand_labels(shared_data):
    from synergy.data import PtsReader

    reader = PtsReader(shared_data / "helen_test.tar")
    hand = torch.stack([torch.from_numpy(reader.read(i, image=False).landmarks68) for i in range(20)]).double()
    hand = torch.cat([hand * torch.tensor([1.0, -1.0]), torch.full((20, 68, 1), torch.nan)], -1)
    size = (hand[..., :2].amax(1) - hand[..., :2].amin(1)).prod(-1).sqrt()
    basis = Basis.of(read_bfm68(shared_data / "bfm68_basis.npz"))
    precision = isotropic(hand, 1.0) / (0.02 * size[:, None, None, None]).square()
    found = fit(basis, hand, precision)
    residual = (found.faces.points(basis) - hand)[..., :2].norm(dim=-1).mean(-1) / size
    assert residual.median() < 0.025
