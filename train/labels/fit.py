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
from functools import cached_property

import torch
from torch import Tensor

from bfm_assets.schema import MorphableModel
from synergy.geometry import compose_pose, decompose_pose, euler_to_matrix
from synergy.parameters import join_parameters, split_pose

N_POSE = 7

# The six entries of a symmetric 3x3 matrix.
_UNIQUE = ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))


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
        """The basis of `model` at `evidence` (P, 68), combinations of its landmarks; default: all 68."""
        points = model.landmark_model()
        mean, modes, std = (
            torch.from_numpy(array).double() for array in (points.mean, points.basis, points.coefficient_std)
        )
        width, height, _ = (mean.amax(0) - mean.amin(0)).tolist()
        unit = (width * height) ** 0.5
        centre = mean.mean(0)
        mean, modes = (mean - centre) / unit, modes * std / unit
        if evidence is not None:
            mean = evidence.to(mean) @ mean
            modes = torch.einsum("pl,lck->pck", evidence.to(modes), modes)
        return cls(mean, modes, centre, unit, std, model.n_shape)

    @cached_property
    def products(self) -> Tensor:
        """(6 P, K (K + 1) / 2): what each unique entry of a point's symmetric 3x3 matrix M adds to modes^T M modes."""
        k = self.modes.shape[-1]
        upper = torch.triu_indices(k, k)
        outer = [self.modes[:, c, upper[0]] * self.modes[:, d, upper[1]] for c, d in _UNIQUE]
        swapped = [self.modes[:, d, upper[0]] * self.modes[:, c, upper[1]] for c, d in _UNIQUE]
        both = [a + b if c != d else a for a, b, (c, d) in zip(outer, swapped, _UNIQUE, strict=True)]
        return torch.stack(both, 1).flatten(0, 1)


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
        return self._turned(basis)[0] + self.translation[:, None]

    def jacobian(self, basis: Basis) -> Tensor:
        """Derivatives (N, P, 3, Q) of the evidence points by the local coordinates."""
        _, by_pose = self._turned(basis)
        matrix = self.rotation * self.log_scale.exp()[:, None, None]
        modes = (matrix @ basis.modes.transpose(0, 1).flatten(1)).unflatten(-1, basis.modes.shape[::2])
        return torch.cat([by_pose, modes.transpose(1, 2)], -1)

    def _turned(self, basis: Basis) -> tuple[Tensor, Tensor]:
        """Points about the centre (N, P, 3) and their derivatives by the pose (N, P, 3, 7)."""
        k = basis.modes.shape[-1]
        shape = basis.mean + (self.coefficients @ basis.modes.reshape(-1, k).T).unflatten(-1, (-1, 3))
        turned = (shape @ self.rotation.mT) * self.log_scale.exp()[:, None, None]
        x, y, z = turned.unbind(-1)
        zero, one = torch.zeros_like(x), torch.ones_like(x)
        rows = (
            (zero, z, -y, x, one, zero, zero),
            (-z, zero, x, y, zero, one, zero),
            (y, -x, zero, z, zero, zero, one),
        )
        return turned, torch.stack([torch.stack(row, -1) for row in rows], -2)

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
        pose, coefficients = split_pose(parameters.double())
        scale, rotation, translation = decompose_pose(pose)
        translation = translation - translation.new_tensor([0.0, height, 0.0])
        translation = translation + scale[:, None] * (rotation @ basis.centre)
        return cls(rotation, (scale * basis.unit).log(), translation, coefficients / basis.coefficient_std)

    def parameters(self, basis: Basis, height: float) -> Tensor:
        """Inverse of `from_parameters`: (N, 12 + K)."""
        return join_parameters(self.pose(basis, height), *self.raw_coefficients(basis))


@dataclass(frozen=True)
class Prior:
    """What is believed before looking: parameters near `centre`, with `precision` (N, Q, Q) in local coordinates.

    With `dof` degrees of freedom it is a Student t: a prediction that the evidence contradicts loses its weight.
    """

    centre: Faces
    precision: Tensor
    dof: float | None = None

    def __getitem__(self, index: Tensor | slice) -> Prior:
        return Prior(self.centre[index], self.precision[index], self.dof)

    def cost(self, faces: Faces) -> tuple[Tensor, Tensor]:
        """Cost (N,) and the weight (N,) that the prior keeps."""
        difference = faces.minus(self.centre)
        squared = torch.einsum("nq,nq->n", (self.precision @ difference[..., None])[..., 0], difference)
        if self.dof is None:
            return squared, torch.ones_like(squared)
        size = self.dof + difference.shape[-1]
        return size * torch.log1p(squared / self.dof), size / (self.dof + squared)


@dataclass(frozen=True)
class Fit:
    """Fitted faces: cost (N,), robust weight of each point (N, P), the weight the prior kept (N,), and whether the last
    step was small (N,)."""

    faces: Faces
    cost: Tensor
    point_weight: Tensor
    prior_weight: Tensor
    converged: Tensor

    def __getitem__(self, index: Tensor | slice) -> Fit:
        return Fit(self.faces[index], *(array[index] for array in self._arrays()))

    def where(self, mask: Tensor, other: Fit) -> Fit:
        """These fits where `mask` (N,) holds, `other` elsewhere."""
        arrays = (
            torch.where(mask.reshape(-1, *[1] * (mine.dim() - 1)), mine, theirs)
            for mine, theirs in zip(self._arrays(), other._arrays(), strict=True)
        )
        return Fit(self.faces.where(mask, other.faces), *arrays)

    def replaced(self, index: Tensor, other: Fit) -> Fit:
        """A copy with the faces at `index` (M,) taken from `other`."""
        position = torch.full((len(self.cost),), -1)
        position[index] = torch.arange(len(index))
        return self.where(position < 0, other[position.clamp_min(0)])

    @classmethod
    def joined(cls, parts: list[Fit]) -> Fit:
        """Fits one after another."""
        columns = zip(*(vars(part.faces).values() for part in parts), strict=True)
        faces = Faces(*(torch.cat(column) for column in columns))
        return cls(faces, *(torch.cat(column) for column in zip(*(part._arrays() for part in parts), strict=True)))

    def _arrays(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return self.cost, self.point_weight, self.prior_weight, self.converged


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


def aligned_faces(basis: Basis, points: Tensor) -> Faces:
    """Mean faces at the similarity that fits (N, P, 3) points best, all known in 3D (Umeyama 1991)."""
    centre, mean = points.mean(1), basis.mean.mean(0)
    moved, shape = points - centre[:, None], basis.mean - mean
    u, s, vh = torch.linalg.svd(moved.mT @ shape)
    sign = torch.ones_like(s)
    sign[:, 2] = torch.det(u @ vh).sign()
    rotation = (u * sign[:, None]) @ vh
    scale = (s * sign).sum(-1) / shape.square().sum()
    translation = centre - scale[:, None] * (rotation @ mean)
    return Faces(rotation, scale.log(), translation, points.new_zeros(len(points), basis.modes.shape[-1]))


def coefficient_prior(start: Faces, mean: Tensor | None = None) -> Prior:
    """The model's own prior: coefficients normal about `mean` (K,), default zero; nothing known about the pose."""
    k = start.coefficients.shape[-1]
    precision = torch.cat([torch.full((N_POSE,), 1e-9), torch.ones(k)]).double().diag()
    mean = torch.zeros(k, dtype=torch.float64) if mean is None else mean
    centre = replace(start, coefficients=mean.expand(len(start), k))
    return Prior(centre, precision.expand(len(start), -1, -1))


def solve(
    basis: Basis,
    points: Tensor,
    precision: Tensor,
    start: Faces,
    prior: Prior,
    cutoff: float = 3.0,
    iterations: int = 15,
) -> Fit:
    """Minimise the robust squared Mahalanobis distances of the points plus the prior, for each of N faces.

    Args:
        points: (N, P, 3) evidence, y up; NaN where unknown.
        precision: (N, P, 3, 3) inverse covariances, zero where unknown.
        start: faces to start from.
        prior: see `Prior`.
        cutoff: Mahalanobis distance at which a point starts losing weight (Cauchy).
        iterations: Levenberg-Marquardt steps.
    """
    points = points.nan_to_num()
    first = _evaluate(basis, points, precision, start, prior, cutoff)
    state = Fit(start, *first, torch.zeros(len(start), dtype=torch.bool))
    damping = torch.full((len(start),), 1e-4, dtype=torch.float64)
    for _ in range(iterations):
        active = (~state.converged).nonzero()[:, 0]
        if not len(active):
            break
        now, held, some = state[active], prior[active], (points[active], precision[active])
        moved = now.faces.moved(_step(basis, *some, now, held, damping[active]))
        new = Fit(moved, *_evaluate(basis, *some, moved, held, cutoff), now.converged)
        better = new.cost < now.cost
        settled = torch.where(better, now.cost - new.cost < 1e-4 * (1 + now.cost), damping[active] > 1e2)
        state = state.replaced(active, replace(now.where(~better, new), converged=settled))
        damping[active] = torch.where(better, damping[active] * 0.1, damping[active] * 10).clamp(1e-9, 1e6)
    return state


def _step(basis: Basis, points: Tensor, precision: Tensor, now: Fit, prior: Prior, damping: Tensor) -> Tensor:
    """One damped Gauss-Newton step (N, Q) with the current robust weights."""
    normal, gradient = normal_equations(basis, points, precision * now.point_weight[..., None, None], now.faces)
    held = prior.precision * now.prior_weight[:, None, None]
    normal = normal + held
    gradient = gradient + (held @ now.faces.minus(prior.centre)[..., None])[..., 0]
    diagonal = normal.diagonal(dim1=-2, dim2=-1)
    normal = normal + torch.diag_embed(damping[:, None] * diagonal + 1e-10 * diagonal.amax(-1, keepdim=True))
    step = -torch.linalg.solve_ex(normal, gradient[..., None])[0][..., 0].nan_to_num()
    turn = step[:, :3] * (0.5 / step[:, :3].norm(dim=-1, keepdim=True).clamp_min(0.5))
    return torch.cat([turn, step[:, 3:4].clamp(-0.5, 0.5), step[:, 4:]], -1)


def normal_equations(basis: Basis, points: Tensor, precision: Tensor, faces: Faces) -> tuple[Tensor, Tensor]:
    """J^T W J (N, Q, Q) and J^T W residual (N, Q), without forming J.

    The modes' block is linear in the points' precisions turned into model axes: one matrix product for all faces.
    """
    turned, by_pose = faces._turned(basis)
    residual = turned + faces.translation[:, None] - points
    weighted = precision @ torch.cat([by_pose, residual[..., None]], -1)
    pose = by_pose.flatten(1, 2).mT @ weighted.flatten(1, 2)
    matrix = faces.rotation * faces.log_scale.exp()[:, None, None]
    n, k = len(faces), basis.modes.shape[-1]
    in_model = (weighted.permute(0, 3, 1, 2).flatten(1, 2) @ matrix).reshape(n, N_POSE + 1, -1)
    by_modes = in_model @ basis.modes.reshape(-1, k)
    both = torch.einsum("nab,ncd->nacbd", matrix, matrix).reshape(n, 9, 9)
    turned_precision = precision.flatten(2) @ both
    unique = turned_precision[..., [3 * c + d for c, d in _UNIQUE]].flatten(1)
    normal = precision.new_empty(n, N_POSE + k, N_POSE + k)
    upper = torch.triu_indices(k, k)
    modes = precision.new_empty(n, k, k)
    modes[:, upper[0], upper[1]] = modes[:, upper[1], upper[0]] = unique @ basis.products
    normal[:, :N_POSE, :N_POSE], normal[:, N_POSE:, N_POSE:] = pose[..., :N_POSE], modes
    normal[:, N_POSE:, :N_POSE], normal[:, :N_POSE, N_POSE:] = by_modes[:, :N_POSE].mT, by_modes[:, :N_POSE]
    return normal, torch.cat([pose[..., N_POSE], by_modes[:, N_POSE]], -1)


def _evaluate(
    basis: Basis, points: Tensor, precision: Tensor, faces: Faces, prior: Prior, cutoff: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Cost (N,), robust point weights (N, P) and prior weight (N,)."""
    residual = faces.points(basis) - points
    squared = ((precision @ residual[..., None])[..., 0] * residual).sum(-1) / cutoff**2
    prior_cost, prior_weight = prior.cost(faces)
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
        evidence = points[some], precision[some]
        if prior is not None:
            parts.append(solve(basis, *evidence, prior[some].centre, prior[some], cutoff, iterations))
            continue
        starts = [start_faces(basis, *evidence, yaw) for yaw in start_yaws_deg]
        fits = [solve(basis, *evidence, start, coefficient_prior(start), cutoff, iterations) for start in starts]
        best = fits[0]
        for other in fits[1:]:
            best = best.where(best.cost <= other.cost, other)
        parts.append(best)
    return Fit.joined(parts)
