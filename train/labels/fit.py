"""Batched fitting of a 3D morphable model to landmarks: Levenberg-Marquardt on thousands of faces at once, in torch.

Unknowns per face: rotation, log scale, translation and K coefficients in units of their standard deviation. The
camera is scaled orthographic (see `synergy.geometry`). Evidence is P points, each a fixed linear combination of the
68 landmark vertices, so that 68-point, AFLW's 21-point and mixed labels are the same thing; a point that is unknown
has precision zero. Every point carries a 3x3 precision matrix: a 2D label has no precision along z, a contour point
little along its contour. A Gaussian (or Student t) prior holds the parameters together: the model's own, or a network's
prediction with the covariance of its errors.

Frame inside this file: x right, **y up**, z towards the camera, image pixels or any other length; y up = -(image y).
The model is rescaled to "face sizes": 1 is sqrt(width * height) of the mean face's frontal landmark box.

The parameter vector's local coordinates, Q = 7 + K, in this order: rotation vector (3, camera axes), log scale (1),
translation (3), coefficients (K).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from bfm_assets.schema import MorphableModel
from synergy.geometry import compose_pose, decompose_pose, euler_to_matrix

N_POSE = 7


@dataclass(frozen=True)
class Basis:
    """A morphable model seen through P evidence points, in face sizes and float64.

    Attributes:
        mean: (P, 3) points of the mean face, about its centre.
        modes: (P, 3, K) modes, one standard deviation each, shape before expression.
        centre: (3,) the centre in model units.
        unit: model units in one face size.
        coefficient_std: (K,) standard deviations in the model's raw coefficients.
        n_shape: how many of the K modes are shape.
    """

    mean: Tensor
    modes: Tensor
    centre: Tensor
    unit: float
    coefficient_std: Tensor
    n_shape: int

    @classmethod
    def of(cls, model: MorphableModel, evidence: Tensor | None = None) -> Basis:
        """The landmark basis of `model`; `evidence` (P, 68) are the combinations of landmarks seen (default: all 68)."""
        at = model.landmarks
        mean = torch.from_numpy(model.mean[at]).double()
        modes = torch.cat(
            [torch.from_numpy(model.shape_basis[at]), torch.from_numpy(model.expression_basis[at])], -1
        ).double()
        std = torch.cat([torch.from_numpy(model.shape_std), torch.from_numpy(model.expression_std)]).double()
        width, height, _ = (mean.amax(0) - mean.amin(0)).tolist()
        unit = (width * height) ** 0.5
        centre = mean.mean(0)
        mean, modes = (mean - centre) / unit, modes * std / unit
        if evidence is not None:
            mean = evidence.to(mean) @ mean
            modes = torch.einsum("pl,lck->pck", evidence.to(modes), modes)
        return cls(mean, modes, centre, unit, std, model.n_shape)

    @property
    def n_parameters(self) -> int:
        return N_POSE + self.modes.shape[-1]


@dataclass(frozen=True)
class Faces:
    """Parameters of N faces: rotation (N, 3, 3), log_scale (N,) of pixels per face size, translation (N, 3) of the
    basis' centre in y-up pixels, coefficients (N, K) in standard deviations."""

    rotation: Tensor
    log_scale: Tensor
    translation: Tensor
    coefficients: Tensor

    def __len__(self) -> int:
        return len(self.log_scale)

    def __getitem__(self, index: Tensor | slice) -> Faces:
        return Faces(self.rotation[index], self.log_scale[index], self.translation[index], self.coefficients[index])

    def where(self, mask: Tensor, other: Faces) -> Faces:
        """These faces where `mask` (N,) holds, `other` elsewhere."""
        return Faces(
            torch.where(mask[:, None, None], self.rotation, other.rotation),
            torch.where(mask, self.log_scale, other.log_scale),
            torch.where(mask[:, None], self.translation, other.translation),
            torch.where(mask[:, None], self.coefficients, other.coefficients),
        )

    def moved(self, step: Tensor) -> Faces:
        """Faces moved by (N, Q) local coordinates."""
        return Faces(
            rotation_from_vector(step[:, :3]) @ self.rotation,
            self.log_scale + step[:, 3],
            self.translation + step[:, 4:7],
            self.coefficients + step[:, N_POSE:],
        )

    def minus(self, other: Faces) -> Tensor:
        """Local coordinates (N, Q) that move `other` to these faces."""
        return torch.cat(
            [
                vector_from_rotation(self.rotation @ other.rotation.transpose(-1, -2)),
                (self.log_scale - other.log_scale)[:, None],
                self.translation - other.translation,
                self.coefficients - other.coefficients,
            ],
            -1,
        )

    def points(self, basis: Basis) -> Tensor:
        """Projected evidence points (N, P, 3), y up."""
        return self._turned(basis) + self.translation[:, None]

    def _turned(self, basis: Basis) -> Tensor:
        shape = basis.mean + torch.einsum("pck,nk->npc", basis.modes, self.coefficients)
        return (shape @ self.rotation.transpose(-1, -2)) * self.log_scale.exp()[:, None, None]

    def jacobian(self, basis: Basis) -> tuple[Tensor, Tensor]:
        """Points (N, P, 3) and their derivatives (N, P, 3, Q) by the local coordinates."""
        turned = self._turned(basis)
        n, p, _ = turned.shape
        x, y, z = turned.unbind(-1)
        zero = torch.zeros_like(x)
        rotation = torch.stack(
            [torch.stack(row, -1) for row in ((zero, z, -y), (-z, zero, x), (y, -x, zero))], -2
        )
        translation = torch.eye(3, dtype=turned.dtype).expand(n, p, 3, 3)
        matrix = self.rotation * self.log_scale.exp()[:, None, None]
        modes = (matrix @ basis.modes.transpose(0, 1).reshape(3, -1)).unflatten(-1, (p, -1)).transpose(1, 2)
        return turned + self.translation[:, None], torch.cat([rotation, turned[..., None], translation, modes], -1)

    def pose(self, basis: Basis, height: float) -> Tensor:
        """The field's 12-vectors (N, 12) for model units and image y = height - V_y."""
        scale = self.log_scale.exp() / basis.unit
        translation = self.translation - scale[:, None] * (self.rotation @ basis.centre)
        return compose_pose(scale, self.rotation, translation + translation.new_tensor([0.0, height, 0.0]))

    def raw_coefficients(self, basis: Basis) -> tuple[Tensor, Tensor]:
        """Shape (N, S) and expression (N, E) in the model's own units."""
        raw = self.coefficients * basis.coefficient_std
        return raw[:, : basis.n_shape], raw[:, basis.n_shape :]

    @classmethod
    def from_parameters(cls, basis: Basis, parameters: Tensor, height: float) -> Faces:
        """From (N, 12 + K): pose `[s R | t]` (image y = height - V_y), raw shape, raw expression."""
        parameters = parameters.double()
        scale, rotation, translation = decompose_pose(parameters[:, :12])
        translation = translation - translation.new_tensor([0.0, height, 0.0])
        translation = translation + scale[:, None] * (rotation @ basis.centre)
        return cls(rotation, (scale * basis.unit).log(), translation, parameters[:, 12:] / basis.coefficient_std)

    def parameters(self, basis: Basis, height: float) -> Tensor:
        """Inverse of `from_parameters`: (N, 12 + K)."""
        return torch.cat([self.pose(basis, height), *self.raw_coefficients(basis)], -1)


@dataclass(frozen=True)
class Prior:
    """What is believed before looking: parameters near `centre`, with `precision` (N, Q, Q) in local coordinates.

    With `dof` degrees of freedom it is a Student t: a prediction that the evidence contradicts loses its weight.
    """

    centre: Faces
    precision: Tensor
    dof: float | None = None

    def cost(self, faces: Faces) -> tuple[Tensor, Tensor, Tensor]:
        """Cost (N,), weight (N,) and difference (N, Q)."""
        difference = faces.minus(self.centre)
        squared = torch.einsum("nq,nqr,nr->n", difference, self.precision, difference)
        if self.dof is None:
            return squared, torch.ones_like(squared), difference
        size = self.dof + difference.shape[-1]
        return size * torch.log1p(squared / self.dof), size / (self.dof + squared), difference


@dataclass(frozen=True)
class Fit:
    """Fitted faces with the final cost (N,), the robust weight of each point (N, P), the weight the prior kept (N,),
    and whether the last step was small (N,)."""

    faces: Faces
    cost: Tensor
    point_weight: Tensor
    prior_weight: Tensor
    converged: Tensor


def rotation_from_vector(vector: Tensor) -> Tensor:
    """Rotations (N, 3, 3) by rotation vectors (N, 3), right-handed, radians."""
    x, y, z = vector.unbind(-1)
    zero = torch.zeros_like(x)
    skew = torch.stack([torch.stack(row, -1) for row in ((zero, -z, y), (z, zero, -x), (-y, x, zero))], -2)
    return torch.linalg.matrix_exp(skew)


def vector_from_rotation(rotation: Tensor) -> Tensor:
    """Rotation vectors (N, 3) of rotations (N, 3, 3), for angles below pi."""
    skew = torch.stack(
        [
            rotation[:, 2, 1] - rotation[:, 1, 2],
            rotation[:, 0, 2] - rotation[:, 2, 0],
            rotation[:, 1, 0] - rotation[:, 0, 1],
        ],
        -1,
    )
    sine = skew.norm(dim=-1)
    angle = torch.atan2(sine, rotation.diagonal(dim1=-2, dim2=-1).sum(-1) - 1)
    return skew * torch.where(sine > 1e-9, angle / sine.clamp_min(1e-9), torch.full_like(sine, 0.5))[:, None]


def start_faces(basis: Basis, points: Tensor, precision: Tensor, yaw_deg: float) -> Faces:
    """Mean faces at a yaw, with scale and translation that fit (N, P, 3) points in the plane by least squares."""
    n = len(points)
    angles = torch.tensor([0.0, yaw_deg, 0.0], dtype=torch.float64).deg2rad()
    rotation = euler_to_matrix(angles)
    shape = (basis.mean @ rotation.T)[:, :2]
    weight = precision[..., (0, 1), (0, 1)].mean(-1)
    weight = weight / weight.sum(-1, keepdim=True).clamp_min(1e-300)
    seen = points[..., :2].nan_to_num()
    centre, shape_centre = (weight[..., None] * seen).sum(1), weight @ shape
    spread = (weight[..., None] * (seen - centre[:, None]).square()).sum((1, 2))
    shape_spread = (weight[..., None] * (shape - shape_centre[:, None]).square()).sum((1, 2))
    log_scale = 0.5 * (spread.clamp_min(1e-12) / shape_spread.clamp_min(1e-12)).log()
    translation = torch.nn.functional.pad(centre - log_scale.exp()[:, None] * shape_centre, (0, 1))
    return Faces(rotation.expand(n, 3, 3), log_scale, translation, points.new_zeros(n, basis.modes.shape[-1]))


def coefficient_prior(start: Faces, dof: float | None = None) -> Prior:
    """The model's own prior: standard normal coefficients, nothing known about the pose."""
    q = N_POSE + start.coefficients.shape[-1]
    precision = torch.eye(q, dtype=torch.float64)
    precision[:N_POSE] = 0
    precision[6, 6] = 1e-9
    centre = replace(start, coefficients=torch.zeros_like(start.coefficients))
    return Prior(centre, precision.expand(len(start), q, q), dof)


def solve(
    basis: Basis,
    points: Tensor,
    precision: Tensor,
    start: Faces,
    prior: Prior,
    cutoff: float = 3.0,
    iterations: int = 15,
) -> Fit:
    """Minimise sum of robust squared Mahalanobis distances of the points plus the prior, for each of N faces.

    Args:
        points: (N, P, 3) evidence, y up; NaN where unknown.
        precision: (N, P, 3, 3) inverse covariances, zero where unknown.
        start: faces to start from.
        prior: see `Prior`.
        cutoff: Mahalanobis distance at which a point starts losing weight (Cauchy).
        iterations: Levenberg-Marquardt steps.
    """
    points = points.nan_to_num()
    faces, damping = start, torch.full((len(start),), 1e-4, dtype=torch.float64)
    cost, weight, prior_weight = _evaluate(basis, points, precision, faces, prior, cutoff)[:3]
    converged = torch.zeros(len(start), dtype=torch.bool)
    for _ in range(iterations):
        placed, jacobian = faces.jacobian(basis)
        difference = prior.cost(faces)[2]
        weighted = (precision * weight[..., None, None]) @ jacobian
        held = prior.precision * prior_weight[:, None, None]
        normal = jacobian.flatten(1, 2).transpose(1, 2) @ weighted.flatten(1, 2) + held
        gradient = torch.einsum("npcq,npc->nq", weighted, placed - points) + (held @ difference[..., None])[..., 0]
        diagonal = normal.diagonal(dim1=-2, dim2=-1)
        damped = normal + torch.diag_embed(damping[:, None] * diagonal + 1e-10 * diagonal.amax(-1, keepdim=True))
        step = -torch.linalg.solve_ex(damped, gradient[..., None])[0][..., 0].nan_to_num()
        step[:, :3] *= (0.5 / step[:, :3].norm(dim=-1, keepdim=True).clamp_min(0.5))
        step[:, 3] = step[:, 3].clamp(-0.5, 0.5)
        moved = faces.moved(step)
        new_cost, new_weight, new_prior_weight = _evaluate(basis, points, precision, moved, prior, cutoff)
        better = new_cost < cost
        converged = torch.where(better, (cost - new_cost) < 1e-4 * (1 + cost), converged | (damping > 1e2))
        faces, cost = moved.where(better, faces), torch.where(better, new_cost, cost)
        weight = torch.where(better[:, None], new_weight, weight)
        prior_weight = torch.where(better, new_prior_weight, prior_weight)
        damping = torch.where(better, damping * 0.1, damping * 10).clamp(1e-9, 1e6)
        if converged.all():
            break
    return Fit(faces, cost, weight, prior_weight, converged)


def _evaluate(
    basis: Basis, points: Tensor, precision: Tensor, faces: Faces, prior: Prior, cutoff: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Cost (N,), robust point weights (N, P) and prior weight (N,)."""
    residual = faces.points(basis) - points
    squared = torch.einsum("npc,npcd,npd->np", residual, precision, residual) / cutoff**2
    prior_cost, prior_weight, _ = prior.cost(faces)
    return cutoff**2 * torch.log1p(squared).sum(-1) + prior_cost, 1 / (1 + squared), prior_weight


def fit(
    basis: Basis,
    points: Tensor,
    precision: Tensor,
    prior: Prior | None = None,
    start_yaws_deg: tuple[float, ...] = (0.0, -50.0, 50.0),
    cutoff: float = 3.0,
    iterations: int = 15,
    chunk: int = 1024,
) -> Fit:
    """Fit N faces: from `prior`'s centre when there is one, else from several yaws, keeping the cheapest.

    `points` (N, P, 3) and `precision` (N, P, 3, 3) as in `solve`, in pixels.
    """
    parts = []
    for at in range(0, len(points), chunk):
        some = slice(at, at + chunk)
        if prior is not None:
            believed = Prior(prior.centre[some], prior.precision[some], prior.dof)
            parts.append(solve(basis, points[some], precision[some], believed.centre, believed, cutoff, iterations))
            continue
        starts = [start_faces(basis, points[some], precision[some], yaw) for yaw in start_yaws_deg]
        fits = [
            solve(basis, points[some], precision[some], start, coefficient_prior(start), cutoff, iterations)
            for start in starts
        ]
        parts.append(_cheapest(fits))
    return Fit(
        Faces(*(torch.cat([getattr(p.faces, name) for p in parts]) for name in Faces.__dataclass_fields__)),
        *(torch.cat([getattr(p, name) for p in parts]) for name in ("cost", "point_weight", "prior_weight", "converged")),
    )


def _cheapest(fits: list[Fit]) -> Fit:
    """For each face the fit of lowest cost."""
    best = fits[0]
    for other in fits[1:]:
        keep = best.cost <= other.cost
        best = Fit(
            best.faces.where(keep, other.faces),
            torch.where(keep, best.cost, other.cost),
            torch.where(keep[:, None], best.point_weight, other.point_weight),
            torch.where(keep, best.prior_weight, other.prior_weight),
            torch.where(keep, best.converged, other.converged),
        )
    return best
