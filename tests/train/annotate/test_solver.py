from dataclasses import replace

import numpy as np
import pytest
import torch

from bfm_assets import read_bfm68
from synergy.geometry import geodesic_angle
from synergy.landmarks import FLIP68
from train.annotate.faces import PointModel
from train.annotate.observations import observation_matrix
from train.annotate.solver import Prior, fit, normal_equations


def isotropic(points: torch.Tensor, sigma: float) -> torch.Tensor:
    """Precisions of 2D points (N, P, 3), zero for NaN."""
    precision = torch.diag(torch.tensor([1.0, 1.0, 0.0], dtype=torch.float64)) / sigma**2
    return precision * points[..., :2].isfinite().all(-1)[..., None, None]


def test_normal_equations_equal_the_explicit_product(make_truth):
    truth = make_truth(4)
    points = truth.points + torch.randn(4, 89, 3, dtype=torch.float64)
    root = torch.randn(4, 89, 3, 3, dtype=torch.float64)
    precision = root @ root.mT
    normal, gradient = normal_equations(truth.model, points, precision, truth.faces)
    jacobian = truth.faces.jacobian(truth.model).flatten(1, 2)
    weighted = (precision @ truth.faces.jacobian(truth.model)).flatten(1, 2)
    torch.testing.assert_close(normal, jacobian.mT @ weighted)
    torch.testing.assert_close(gradient, (weighted.mT @ (truth.points - points).flatten(1)[..., None])[..., 0])


# noise (px of faces about 100 px high) and fraction of unknown points -> bounds of the mean landmark error (px) and of
# the median error of the rotation (degrees)
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
    annotated = flat(truth.points, noise, hidden)
    found = fit(truth.model, annotated, isotropic(annotated, max(noise, 0.3)))
    error = (found.faces.project(truth.model) - truth.points)[..., :2].norm(dim=-1).mean()
    angle = geodesic_angle(found.faces.rotation, truth.faces.rotation).rad2deg().median()
    assert error < pixels
    assert angle < degrees
    assert found.converged.double().mean() > 0.9


def test_robust_weights_survive_gross_outliers(make_truth, flat):
    truth = make_truth(20)
    annotated = flat(truth.points, 0.3)
    annotated[:, 40:44, :2] += 40
    found = fit(truth.model, annotated, isotropic(annotated, 0.5))
    error = (found.faces.project(truth.model) - truth.points)[..., :2].norm(dim=-1)
    assert error.mean() < 1.0
    assert found.point_weight[:, 40:44].median() < 0.1 < 0.5 < found.point_weight[:, :40].median()


def test_fit_is_equivariant_to_image_scale_and_shift(make_truth, flat):
    truth = make_truth(10)
    annotated = flat(truth.points, 0.5)
    moved = annotated * 3 + torch.tensor([50.0, -20.0, 0.0])
    first = fit(truth.model, annotated, isotropic(annotated, 0.5)).faces.project(truth.model)
    second = fit(truth.model, moved, isotropic(moved, 1.5)).faces.project(truth.model)
    expected = first[..., :2] * 3 + torch.tensor([50.0, -20.0])
    torch.testing.assert_close(second[..., :2], expected, atol=0.1, rtol=0)


def test_fit_is_equivariant_to_mirroring(few_modes, make_truth, flat):
    """With a basis that holds each mode and its mirror image, the prior has no side."""
    plain, flip = PointModel.create(few_modes), torch.tensor([-1.0, 1.0, 1.0], dtype=torch.float64)
    order = torch.from_numpy(FLIP68)
    mean = plain.mean - plain.mean.mean(0)
    mean = (mean + mean[order] * flip) / 2
    modes = torch.cat([plain.modes, plain.modes[order] * flip[:, None]], -1)
    basis = replace(plain, mean=mean, modes=modes, bounds=plain.bounds.repeat(1, 2))
    annotated = flat(make_truth(10).points[:, :68], 0.5)
    mirrored = annotated[:, order] * torch.tensor([-1.0, 1.0, 1.0])
    first = fit(basis, annotated, isotropic(annotated, 0.5)).faces.project(basis)
    second = fit(basis, mirrored, isotropic(mirrored, 0.5)).faces.project(basis)
    torch.testing.assert_close(second[..., :2], (first[:, order] * flip)[..., :2], atol=0.1, rtol=0)


def test_3d_points_settle_what_2d_points_leave_open(make_truth):
    truth = make_truth(10, yaw_deg=80)
    precision = torch.eye(3, dtype=torch.float64).expand(10, 89, 3, 3) / 0.1**2
    found = fit(truth.model, truth.points, precision)
    torch.testing.assert_close(found.faces.project(truth.model), truth.points, atol=0.2, rtol=0)


def test_prior_decides_without_points_and_loses_weight_when_contradicted(make_truth, flat):
    truth = make_truth(8)
    q = 7 + truth.model.modes.shape[-1]
    wrong = truth.faces.retract(
        torch.cat([torch.full((8, 3), 0.15), torch.zeros(8, 4), torch.full((8, q - 7), 0.5)], 1).double()
    )
    precision = torch.eye(q, dtype=torch.float64).expand(8, q, q) * 100
    nothing = torch.full((8, 89, 3), torch.nan, dtype=torch.float64)
    prior_only = fit(truth.model, nothing, isotropic(nothing, 1.0), Prior(wrong, precision))
    torch.testing.assert_close(prior_only.faces.project(truth.model), wrong.project(truth.model))
    annotated = flat(truth.points)
    free = fit(
        truth.model,
        annotated,
        isotropic(annotated, 0.3),
        Prior(wrong, precision, degrees_of_freedom=5.0),
        iterations=40,
    )
    firm = fit(truth.model, annotated, isotropic(annotated, 0.3), Prior(wrong, precision), iterations=40)
    assert (free.prior_weight < 0.3).all()
    assert (firm.prior_weight == 1).all()
    for found, bound in ((free, 0.3), (firm, 1.5)):
        assert (found.faces.project(truth.model) - truth.points)[..., :2].norm(dim=-1).mean() < bound


def test_bfm68_basis_fits_real_annotated_labels(shared_data):
    from synergy.data import PtsReader

    reader = PtsReader(shared_data / "helen_test.tar")
    annotated = torch.stack([torch.from_numpy(reader.read(i, image=False).landmarks68) for i in range(20)]).double()
    annotated = torch.cat([annotated * torch.tensor([1.0, -1.0]), torch.full((20, 68, 1), torch.nan)], -1)
    size = (annotated[..., :2].amax(1) - annotated[..., :2].amin(1)).prod(-1).sqrt()
    basis = PointModel.create(read_bfm68(shared_data / "bfm68_basis.npz"))
    precision = isotropic(annotated, 1.0) / (0.02 * size[:, None, None, None]).square()
    found = fit(basis, annotated, precision)
    residual = (found.faces.project(basis) - annotated)[..., :2].norm(dim=-1).mean(-1) / size
    assert residual.median() < 0.025


@pytest.fixture(scope="module")
def blendshape_model(few_modes):
    """The same model with named expression modes, whose weights lie in 0..1."""
    return replace(few_modes, expression_names=("a", "b", "c", "d", "e"), expression_std=np.full(5, 0.3, np.float32))


def test_blendshape_weights_stay_in_their_bounds_and_other_coefficients_are_free(blendshape_model, make_truth, flat):
    model = PointModel.create(blendshape_model, observation_matrix())
    truth = make_truth(30)
    faces = replace(truth.faces, coefficients=truth.faces.coefficients * 0.3)
    annotated = flat(faces.project(model), 0.3)
    found = fit(model, annotated, isotropic(annotated, 0.5), iterations=40)
    weights = found.faces.coefficients[:, 10:] * 0.3
    assert weights.min() >= 0
    assert weights.max() <= 1 + 1e-12
    assert (weights == 0).double().mean() > 0.2
    assert (found.faces.coefficients[:, :10] < 0).any()
    free = fit(replace(model, bounds=model.bounds.clone().fill_(torch.inf) * torch.tensor([[-1.0], [1.0]])), annotated,
               isotropic(annotated, 0.5), iterations=40)  # fmt: skip
    assert (free.faces.coefficients[:, 10:] < 0).any()
    # The bounded minimum is a minimum: no feasible change of one weight lowers the cost.
    for k in range(5):
        for change in (-0.02, 0.02):
            moved = found.faces.coefficients.clone()
            moved[:, 10 + k] += change
            probe = replace(found.faces, coefficients=moved).clamp(model)
            prior = Prior.of_coefficients(probe)
            residual = ((probe.project(model) - annotated)[..., :2].nan_to_num() / 0.5).square().sum(-1)
            cost = 9 * torch.log1p(residual / 9).sum(-1) + prior.cost(probe)[0]
            assert (cost > found.cost - 0.05)[found.converged].all()


def test_true_weights_are_recovered(blendshape_model, make_truth, flat):
    model = PointModel.create(blendshape_model, observation_matrix())
    truth = make_truth(30)
    coefficients = truth.faces.coefficients.clone()
    coefficients[:, 10:] = coefficients[:, 10:].abs().clamp_max(1 / 0.3)
    faces = replace(truth.faces, coefficients=coefficients)
    annotated = flat(faces.project(model))
    found = fit(model, annotated, isotropic(annotated, 0.1), iterations=40)
    assert (found.faces.coefficients - coefficients)[:, 10:].abs().median() < 0.25


def test_observed_coefficients_move_the_prior(make_truth):
    truth = make_truth(3)
    k = truth.model.n_coefficients
    prior = Prior.of_coefficients(truth.faces)
    target, precision = torch.full((3, k), 2.0).double(), torch.zeros(3, k).double()
    precision[:, 4] = 3.0
    moved = prior.observe_coefficients(target, precision)
    expected = torch.zeros(3, k).double()
    expected[:, 4] = 1.5  # (1 * 0 + 3 * 2) / 4
    torch.testing.assert_close(moved.centre.coefficients, expected)
    torch.testing.assert_close(moved.precision[:, 11, 11], torch.full((3,), 4.0).double())
    torch.testing.assert_close(moved.centre.rotation, truth.faces.rotation)
