"""Fit a 3D morphable model to observed points: Levenberg-Marquardt on thousands of faces at once.

Each observed point is a fixed linear combination of the 68 landmarks, so that 68-point, 21-point and mixed annotations
are handled alike. Every point has a 3x3 precision matrix (inverse covariance) in pixels. A 2D point has no precision
along z; an unknown point has precision zero. A Gaussian or Student t prior regularises the parameters.

Coefficients with bounds (blendshape weights in 0..1) are handled by projection. In each step, a coefficient at a bound
is not changed if the cost would only decrease beyond the bound.

The frame, the units and the order of the local coordinates are those of `train.annotate.faces`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from synergy.geometry import euler_to_matrix
from train.annotate.faces import N_LOCAL_POSE, UPPER_TRIANGLE, FaceParameters, PointModel, RowWise, pose_jacobian

# Starting yaws in degrees where no prior gives a starting pose.
_START_YAWS_DEG = (0.0, -50.0, 50.0)
# Mahalanobis distance at which a point starts to lose weight (Cauchy).
_CUTOFF = 3.0
# Largest change of rotation (radians) and log scale in one iteration.
_LARGEST_STEP = 0.5


@dataclass(frozen=True)
class Prior:
    """A prior of face parameters.

    Attributes:
        centre: N most likely faces.
        precision: (N, Q, Q) inverse covariance in local coordinates.
        degrees_of_freedom: of a Student t, which gives less weight to a prior that contradicts the points; None for a
            Gaussian.
    """

    centre: FaceParameters
    precision: Tensor
    degrees_of_freedom: float | None = None

    @classmethod
    def of_coefficients(cls, faces: FaceParameters, mean: Tensor | None = None) -> Prior:
        """Return the morphable model's own prior: coefficients with unit variance, nothing known about the pose.

        Args:
            faces: their coefficients are not used.
            mean: (K,) mean coefficients, zero by default.
        """
        k = faces.coefficients.shape[-1]
        precision = torch.cat([torch.full((N_LOCAL_POSE,), 1e-9), torch.ones(k)]).double().diag()
        mean = torch.zeros(k, dtype=torch.float64) if mean is None else mean
        centre = replace(faces, coefficients=mean.expand(len(faces), k))
        return cls(centre, precision.expand(len(faces), -1, -1))

    def __getitem__(self, index: Tensor | slice) -> Prior:
        return Prior(self.centre[index], self.precision[index], self.degrees_of_freedom)

    def observe_coefficients(self, target: Tensor, precision: Tensor) -> Prior:
        """Return the prior after an observation of coefficients.

        Args:
            target: (N, K) observed coefficients in standard deviations.
            precision: (N, K) inverse variances, zero where nothing was observed.
        """
        added = torch.nn.functional.pad(precision, (N_LOCAL_POSE, 0))
        total = self.precision + torch.diag_embed(added)
        pull = added * torch.nn.functional.pad(target - self.centre.coefficients, (N_LOCAL_POSE, 0))
        step = torch.linalg.solve(total, pull[..., None])[..., 0]
        return Prior(self.centre.retract(step), total, self.degrees_of_freedom)

    def cost(self, faces: FaceParameters) -> tuple[Tensor, Tensor]:
        """Return the cost (N,) of faces and the factor (N,) by which the precision is reduced."""
        difference = faces.local_coordinates(self.centre)
        squared = torch.einsum("nq,nq->n", (self.precision @ difference[..., None])[..., 0], difference)
        if self.degrees_of_freedom is None:
            return squared, torch.ones_like(squared)
        size = self.degrees_of_freedom + difference.shape[-1]
        return size * torch.log1p(squared / self.degrees_of_freedom), size / (self.degrees_of_freedom + squared)


@dataclass(frozen=True)
class Fit(RowWise):
    """Fitted faces.

    Attributes:
        faces: the N faces.
        cost: (N,) value that was minimised.
        point_weight: (N, P) robust weight of each point, 0 to 1.
        prior_weight: (N,) factor by which the precision of the prior was reduced.
        converged: (N,) whether the last change of the cost was small.
    """

    faces: FaceParameters
    cost: Tensor
    point_weight: Tensor
    prior_weight: Tensor
    converged: Tensor


def fit(
    model: PointModel,
    points: Tensor,
    precision: Tensor,
    prior: Prior | None = None,
    iterations: int = 15,
) -> Fit:
    """Minimise the robust squared Mahalanobis distances of the points plus the prior's cost, for each of N faces.

    Args:
        model: the morphable model at the observed points.
        points: (N, P, 3) in pixels, y up; NaN where unknown.
        precision: (N, P, 3, 3), zero where unknown.
        prior: the fit starts at its centre. By default it is the morphable model's own prior, and the cheapest of
            three fits that start at different yaws is returned.
        iterations: Levenberg-Marquardt steps.
    """
    points = points.nan_to_num()
    if prior is not None:
        return _minimise(model, points, precision, prior.centre, prior, iterations)
    fits = []
    for yaw_deg in _START_YAWS_DEG:
        start = _start_faces(model, points, precision, yaw_deg)
        fits.append(_minimise(model, points, precision, start, Prior.of_coefficients(start), iterations))
    best = fits[0]
    for other in fits[1:]:
        best = best.where(best.cost <= other.cost, other)
    return best


def _start_faces(model: PointModel, points: Tensor, precision: Tensor, yaw_deg: float) -> FaceParameters:
    """Place the mean face, at a yaw, over the points by least squares of scale and translation."""
    rotation = euler_to_matrix(torch.tensor([0.0, yaw_deg, 0.0], dtype=torch.float64).deg2rad())
    shape = (model.mean @ rotation.T)[:, :2]
    weight = precision[..., (0, 1), (0, 1)].mean(-1)
    weight = weight / weight.sum(-1, keepdim=True).clamp_min(1e-300)
    centre, shape_centre = (weight[..., None] * points[..., :2]).sum(1), weight @ shape
    spread = (weight[..., None] * (points[..., :2] - centre[:, None]).square()).sum((1, 2))
    shape_spread = (weight[..., None] * (shape - shape_centre[:, None]).square()).sum((1, 2))
    log_scale = 0.5 * (spread.clamp_min(1e-12) / shape_spread.clamp_min(1e-12)).log()
    translation = torch.nn.functional.pad(centre - log_scale.exp()[:, None] * shape_centre, (0, 1))
    coefficients = points.new_zeros(len(points), model.n_coefficients)
    return FaceParameters(rotation.expand(len(points), 3, 3), log_scale, translation, coefficients)


def _minimise(
    model: PointModel,
    points: Tensor,
    precision: Tensor,
    start: FaceParameters,
    prior: Prior,
    iterations: int,
) -> Fit:
    """Run Levenberg-Marquardt from `start`; faces that have converged are left out of further steps."""

    def evaluate(faces: FaceParameters, rows: Tensor | slice) -> tuple[Tensor, Tensor, Tensor]:
        residual = faces.project(model) - points[rows]
        squared = ((precision[rows] @ residual[..., None])[..., 0] * residual).sum(-1) / _CUTOFF**2
        prior_cost, prior_weight = prior[rows].cost(faces)
        return _CUTOFF**2 * torch.log1p(squared).sum(-1) + prior_cost, 1 / (1 + squared), prior_weight

    start = start.clamp(model)
    state = Fit(start, *evaluate(start, slice(None)), torch.zeros(len(start), dtype=torch.bool))
    damping = torch.full((len(start),), 1e-4, dtype=torch.float64)
    for _ in range(iterations):
        active = (~state.converged).nonzero()[:, 0]
        if not len(active):
            break
        now = state[active]
        step = _damped_step(model, points[active], precision[active], now, prior[active], damping[active])
        moved = now.faces.retract(step).clamp(model)
        new = Fit(moved, *evaluate(moved, active), now.converged)
        better = new.cost < now.cost
        settled = torch.where(better, now.cost - new.cost < 1e-4 * (1 + now.cost), damping[active] > 1e2)
        state = state.replace_rows(active, replace(new.where(better, now), converged=settled))
        damping[active] = torch.where(better, damping[active] * 0.1, damping[active] * 10).clamp(1e-9, 1e6)
    return state


def _damped_step(
    model: PointModel, points: Tensor, precision: Tensor, now: Fit, prior: Prior, damping: Tensor
) -> Tensor:
    """Return one damped Gauss-Newton step (N, Q) with the current robust weights."""
    normal, gradient = normal_equations(model, points, precision * now.point_weight[..., None, None], now.faces)
    prior_precision = prior.precision * now.prior_weight[:, None, None]
    normal = normal + prior_precision
    gradient = gradient + (prior_precision @ now.faces.local_coordinates(prior.centre)[..., None])[..., 0]
    if model.is_bounded:
        low, high = (now.faces.coefficients <= model.bounds[0]), (now.faces.coefficients >= model.bounds[1])
        slope = gradient[:, N_LOCAL_POSE:]
        fixed = torch.nn.functional.pad((low & (slope > 0)) | (high & (slope < 0)), (N_LOCAL_POSE, 0))
        normal = normal.masked_fill(fixed[:, :, None] | fixed[:, None], 0) + torch.diag_embed(fixed.to(normal))
        gradient = gradient.masked_fill(fixed, 0)
    diagonal = normal.diagonal(dim1=-2, dim2=-1)
    normal = normal + torch.diag_embed(damping[:, None] * diagonal + 1e-10 * diagonal.amax(-1, keepdim=True))
    step = -torch.linalg.solve_ex(normal, gradient[..., None])[0][..., 0].nan_to_num()
    angle = step[:, :3].norm(dim=-1, keepdim=True)
    rotation = step[:, :3] * (_LARGEST_STEP / angle.clamp_min(_LARGEST_STEP))
    return torch.cat([rotation, step[:, 3:4].clamp(-_LARGEST_STEP, _LARGEST_STEP), step[:, 4:]], -1)


def normal_equations(
    model: PointModel, points: Tensor, precision: Tensor, faces: FaceParameters
) -> tuple[Tensor, Tensor]:
    """Return J^T W J (N, Q, Q) and J^T W residual (N, Q) without forming the Jacobian J.

    The block of the coefficients is linear in the precisions of the points, rotated to model axes. It is therefore one
    matrix product for all faces.

    Args:
        model: the morphable model at the observed points.
        points: (N, P, 3) in pixels, y up, all finite.
        precision: W, (N, P, 3, 3).
        faces: the faces at which to linearise.
    """
    n, k = len(faces), model.n_coefficients
    rotated = faces.rotated_points(model)
    by_pose = pose_jacobian(rotated)
    residual = rotated + faces.translation[:, None] - points
    weighted = precision @ torch.cat([by_pose, residual[..., None]], -1)
    pose = by_pose.flatten(1, 2).mT @ weighted.flatten(1, 2)
    matrix = faces.rotation * faces.log_scale.exp()[:, None, None]
    in_model_axes = (weighted.permute(0, 3, 1, 2).flatten(1, 2) @ matrix).reshape(n, N_LOCAL_POSE + 1, -1)
    by_modes = in_model_axes @ model.modes.reshape(-1, k)
    both = torch.einsum("nab,ncd->nacbd", matrix, matrix).reshape(n, 9, 9)
    rotated_precision = precision.flatten(2) @ both
    unique = rotated_precision[..., [3 * c + d for c, d in UPPER_TRIANGLE]].flatten(1)
    upper = torch.triu_indices(k, k)
    modes = precision.new_empty(n, k, k)
    modes[:, upper[0], upper[1]] = modes[:, upper[1], upper[0]] = unique @ model.mode_products
    normal = precision.new_empty(n, N_LOCAL_POSE + k, N_LOCAL_POSE + k)
    normal[:, :N_LOCAL_POSE, :N_LOCAL_POSE], normal[:, N_LOCAL_POSE:, N_LOCAL_POSE:] = pose[..., :N_LOCAL_POSE], modes
    normal[:, N_LOCAL_POSE:, :N_LOCAL_POSE] = by_modes[:, :N_LOCAL_POSE].mT
    normal[:, :N_LOCAL_POSE, N_LOCAL_POSE:] = by_modes[:, :N_LOCAL_POSE]
    return normal, torch.cat([pose[..., N_LOCAL_POSE], by_modes[:, N_LOCAL_POSE]], -1)
