"""Combine the predictions of several networks (teachers) into one prediction per face.

The first teacher with 3D landmarks is the base. The other teachers are described by their differences from it, in
local coordinates of the canonical frame (`train.annotate.calibration`). The combined face is

    base + sum over teachers t of   w_t (rotation of t - that of the base) + v_t (other coordinates of t - those of it)

A teacher that predicts the pose only has no v. The weights w and v are estimated per range of |yaw| on annotated
faces: they minimise the squared distance between the annotations, without their mean difference, and the points of the
combined face. Because the noise of annotations is independent of the errors of the teachers, these weights also
minimise the error of the combined prediction. They are the weights of inverse-covariance weighting if the errors of all
teachers have proportional covariances in the local coordinates.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import lsq_linear
from torch import Tensor

from synergy.errors import UserError
from synergy.geometry import flip_y
from train.annotate.calibration import CanonicalFrame, ErrorModel, yaw_deg
from train.annotate.faces import FaceParameters, PointModel
from train.annotate.predictions import Prediction
from train.annotate.solver import Prior, fit

# Upper bounds of the ranges of |yaw| in degrees.
ABSOLUTE_YAW_BOUNDS_DEG = (10.0, 20.0, 30.0, 45.0, 60.0, 75.0)

# Standard deviation of a predicted landmark about the morphable model, in face sizes.
_FIT_NOISE = 0.01
# Precision (1 / radians^2) that keeps a known rotation.
_KNOWN_ROTATION_PRECISION = 1e8
# Levenberg-Marquardt steps and batch size for teachers with 2D landmarks.
_ITERATIONS, _CHUNK = 3, 1024
# A teacher is not used for a face where its rotation or position differs from the base by more than this.
_LARGEST_ANGLE_DEG, _LARGEST_SHIFT = 20.0, 0.15
# Weight estimates: a face needs this many annotated points, at most so many faces of a range are used, and the estimate
# for all ranges together has the weight of so many faces.
_FEWEST_POINTS, _MOST_FACES, _STRENGTH = 20, 1500, 50.0
# A teacher that has predictions for a smaller fraction of a range's faces gets no weight there.
_FEWEST_PRESENT = 0.5


@dataclass(frozen=True)
class Teachers:
    """The predictions of T teachers besides the base, for N faces.

    Attributes:
        names: of the T teachers.
        base: N faces in the image frame, NaN scale where there is no prediction.
        difference: (N, T, Q) local coordinates from the base to each teacher, canonical frame; zero where not present.
        present: (N, T) whether there is a prediction that does not contradict the base.
        pose_only: (T,) whether a teacher predicts the rotation only.
    """

    names: tuple[str, ...]
    base: FaceParameters
    difference: Tensor
    present: Tensor
    pose_only: Tensor

    def __getitem__(self, index: Tensor) -> Teachers:
        """Return the predictions for some faces."""
        return Teachers(self.names, self.base[index], self.difference[index], self.present[index], self.pose_only)


@dataclass(frozen=True)
class TeacherWeights:
    """Weights of T teachers in each range of |yaw|.

    Attributes:
        names: of the T teachers.
        rotation: (7, T) weights of the rotations.
        shape: (7, T) weights of the other local coordinates.
    """

    names: tuple[str, ...]
    rotation: Tensor
    shape: Tensor

    @property
    def are_zero(self) -> bool:
        """Whether there are teachers besides the base, and none of them has a weight."""
        return bool(self.names) and not self.rotation.any() and not self.shape.any()

    def save(self, path: str | Path) -> None:
        """Write a readable `.json`."""
        table = {
            name: {"rotation": self.rotation[:, t].tolist(), "shape": self.shape[:, t].tolist()}
            for t, name in enumerate(self.names)
        }
        content = {"yaw_bounds_deg": ABSOLUTE_YAW_BOUNDS_DEG, "weights": table}
        Path(path).write_text(json.dumps(content, indent=1))

    def with_fixed_fractions(self, fractions: Mapping[str, float], pose_only: Tensor) -> TeacherWeights:
        """Return weights of which some teachers have a fixed fraction, and all teachers divide the rest as before.

        Args:
            fractions: by the name of a teacher. A teacher that predicts the pose only has this fraction of the
                rotation, any other teacher has it of the other coordinates.
            pose_only: (T,) whether a teacher predicts the rotation only.

        Raises:
            UserError: a name is unknown, a fraction is not above 0, or those of the rotation or of the other
                coordinates exceed 1.
        """
        if unknown := sorted(set(fractions) - set(self.names)):
            names = ", ".join(self.names) or "none"
            raise UserError(
                f"no fixed fraction for the teacher {unknown[0]}: the teachers besides the base are {names}"
            )
        fixed = torch.tensor([fractions.get(name, 0.0) for name in self.names], dtype=torch.float64)
        of_rotation, of_shape = fixed * pose_only, fixed * ~pose_only
        if not all(value > 0 for value in fractions.values()) or max(of_rotation.sum(), of_shape.sum()) > 1:
            raise UserError("the fixed fractions of the teachers must be above 0, and their sum must not exceed 1")
        rotation = (1 - of_rotation.sum()) * self.rotation + of_rotation
        return TeacherWeights(self.names, rotation, (1 - of_shape.sum()) * self.shape + of_shape)

    @classmethod
    def load(cls, path: str | Path, names: Sequence[str]) -> TeacherWeights:
        """Read what `save` wrote, for the teachers `names`.

        Raises:
            UserError: the file is damaged or lacks a teacher.
        """
        try:
            table = json.loads(Path(path).read_text())["weights"]
            size = len(names), len(ABSOLUTE_YAW_BOUNDS_DEG) + 1
            columns = [[table[name][key] for name in names] for key in ("rotation", "shape")]
            rotation, shape = (torch.tensor(column, dtype=torch.float64).reshape(size).T for column in columns)
        except (OSError, ValueError, RuntimeError, TypeError) as error:
            raise UserError(f"{path}: not a file of teacher weights ({error})") from None
        except KeyError as error:
            raise UserError(f"{path}: no weights of the teacher {error}") from None
        return cls(tuple(names), rotation, shape)


def align_teachers(model: PointModel, predictions: Sequence[Prediction]) -> Teachers:
    """Express predictions as differences from the first one with 3D landmarks.

    Args:
        model: the morphable model at the observed points. Teachers with 3D landmarks become its parameters by a linear
            fit. Teachers with 2D landmarks are fitted from the base.
        predictions: predictions for N faces.

    Raises:
        UserError: no teacher has 3D landmarks.
    """
    with_depth = [p for p in predictions if p.landmarks is not None and p.rotation is not None]
    if not with_depth:
        raise UserError("at least one teacher must have 3D landmarks (NAME_landmarks and NAME_rotation)")
    base = _faces_of_3d_teacher(model, with_depth[0])
    frame = CanonicalFrame.create(base)
    canonical = frame.convert(base)
    others = [p for p in predictions if p is not with_depth[0]]
    difference = [_difference(model, p, base, frame, canonical) for p in others]
    stacked = torch.stack(difference, 1) if others else base.rotation.new_empty(len(base), 0, model.n_local)
    angle_deg = stacked[..., :3].norm(dim=-1).rad2deg()
    present = (angle_deg < _LARGEST_ANGLE_DEG) & (stacked[..., 4:6].norm(dim=-1) < _LARGEST_SHIFT)
    stacked = torch.where(present[..., None], stacked, torch.zeros_like(stacked))
    pose_only = torch.tensor([p.landmarks is None for p in others], dtype=torch.bool)
    return Teachers(tuple(p.name for p in others), base, stacked, present, pose_only)


def _faces_of_3d_teacher(model: PointModel, prediction: Prediction) -> FaceParameters:
    """Return the faces of a teacher with 3D landmarks, with NaN scale where it has no prediction."""
    assert prediction.landmarks is not None
    assert prediction.rotation is not None
    known = np.asarray(np.isfinite(prediction.landmarks).all((1, 2)) & np.isfinite(prediction.rotation).all((1, 2)))
    landmarks = np.where(known[:, None, None], prediction.landmarks, model.morphable_model.landmark_model().mean)
    rotation = np.where(known[:, None, None], prediction.rotation, np.eye(3))
    faces = FaceParameters.from_landmarks(model, landmarks, rotation, _FIT_NOISE)
    if model.is_bounded:
        faces = _fit_3d_teacher(model, faces, landmarks)
    faces.log_scale[torch.from_numpy(~known)] = torch.nan
    return faces


def _fit_3d_teacher(model: PointModel, faces: FaceParameters, landmarks: NDArray[np.floating]) -> FaceParameters:
    """Fit faces with bounded coefficients to 3D landmarks (N, 68, 3); the rotation of `faces` is kept."""
    landmark_model = PointModel.create(model.morphable_model)
    points = torch.from_numpy(flip_y(landmarks))
    eye, parts = torch.eye(3, dtype=torch.float64), []
    for start in range(0, len(faces), _CHUNK):
        some = slice(start, start + _CHUNK)
        precision = eye / (_FIT_NOISE * faces[some].log_scale.exp())[:, None, None, None].square()
        prior = Prior.of_coefficients(faces[some].clamp(model))
        own = prior.precision.clone()
        own[:, :3, :3] += eye * _KNOWN_ROTATION_PRECISION
        prior = Prior(prior.centre, own)
        parts.append(fit(landmark_model, points[some], precision.expand(-1, 68, -1, -1), prior, _ITERATIONS).faces)
    return FaceParameters.concatenate(parts)


def _difference(
    model: PointModel, prediction: Prediction, base: FaceParameters, frame: CanonicalFrame, canonical: FaceParameters
) -> Tensor:
    """Return local coordinates (N, Q) from the base to a teacher, NaN where either has no prediction."""
    if prediction.landmarks is None:
        assert prediction.rotation is not None
        rotated = replace(canonical, rotation=frame.rotation @ torch.from_numpy(prediction.rotation))
        return rotated.local_coordinates(canonical)
    if prediction.rotation is not None:
        return frame.convert(_faces_of_3d_teacher(model, prediction)).local_coordinates(canonical)
    return _fit_2d_teacher(model, prediction.landmarks, base, frame, canonical)


def _fit_2d_teacher(
    model: PointModel, landmarks: NDArray[np.floating], base: FaceParameters, frame: CanonicalFrame,
    canonical: FaceParameters,
) -> Tensor:  # fmt: skip
    """Fit the base to 2D landmarks (N, 68, 2); returns local coordinates (N, Q), NaN where there are none."""
    known = torch.from_numpy(np.isfinite(landmarks).all((1, 2))) & base.log_scale.isfinite()
    out = torch.full((len(base), model.n_local), torch.nan, dtype=torch.float64)
    landmark_model = PointModel.create(model.morphable_model)
    errors = ErrorModel.default(landmark_model)
    errors = ErrorModel(errors.bias, torch.eye(2).double().expand_as(errors.noise) * _FIT_NOISE**2, errors.covariance)
    points = frame.convert_points(torch.from_numpy(flip_y(np.pad(landmarks, ((0, 0), (0, 0), (0, 1))))))
    points[..., 2] = torch.nan
    precision = errors.prior_precision()
    rows = known.nonzero()[:, 0]
    for start in range(0, len(rows), _CHUNK):
        some = rows[start : start + _CHUNK]
        prior = Prior(canonical[some], precision.expand(len(some), -1, -1))
        found = fit(landmark_model, points[some], errors.point_precision(points[some]), prior, _ITERATIONS)
        out[some] = found.faces.local_coordinates(canonical[some])
    return out


def combine_teachers(teachers: Teachers, weights: TeacherWeights) -> FaceParameters:
    """Return the combined faces (N) in the image frame, NaN scale where the base has no prediction."""
    frame = CanonicalFrame.create(teachers.base)
    canonical = frame.convert(teachers.base)
    index = _yaw_index(canonical)
    rotation, shape = (_weighted(w[index], teachers.difference) for w in (weights.rotation, weights.shape))
    return frame.convert_back(canonical.retract(torch.cat([rotation[:, :3], shape[:, 3:]], -1)))


def measure_disagreement(model: PointModel, teachers: Teachers) -> Tensor:
    """Return the mean 2D distance (N,) of landmarks between the base and the other teachers, in % of the face size.

    It is NaN where no other teacher has landmarks.
    """
    frame = CanonicalFrame.create(teachers.base)
    canonical = frame.convert(teachers.base)
    landmark_model = PointModel.create(model.morphable_model)
    points = canonical.project(landmark_model)
    distances = []
    for t in range(len(teachers.names)):
        moved = canonical.retract(teachers.difference[:, t]).project(landmark_model)
        distance = 100 * (moved - points)[..., :2].norm(dim=-1).mean(-1)
        used = teachers.present[:, t] & ~teachers.pose_only[t]
        distances.append(torch.where(used, distance, torch.nan))
    return torch.stack(distances, 1).nanmean(1) if distances else torch.full((len(points),), torch.nan)


def estimate_weights(model: PointModel, teachers: Teachers, points: Tensor) -> TeacherWeights:
    """Estimate the weights of teachers on annotated faces.

    Args:
        model: the morphable model at the observed points.
        teachers: predictions for N faces.
        points: (N, P, 3) annotations in pixels, y up; NaN where unknown.
    """
    frame = CanonicalFrame.create(teachers.base)
    canonical = frame.convert(teachers.base)
    residual = (frame.convert_points(points) - canonical.project(model))[..., :2]
    known = residual.isfinite().all(-1)
    near = residual.nan_to_num().norm(dim=-1).sum(-1) / known.sum(-1).clamp_min(1) < _LARGEST_SHIFT
    usable = (known.sum(-1) >= _FEWEST_POINTS) & near
    index, side = _yaw_index(canonical), yaw_deg(canonical) > 0
    systems = []
    for i in range(len(ABSOLUTE_YAW_BOUNDS_DEG) + 1):
        used = teachers.present[index == i].double().mean(0) >= _FEWEST_PRESENT
        rows = (usable & (index == i) & teachers.present[:, used].all(-1)).nonzero()[:, 0]
        rows = rows[:: max(1, -(-len(rows) // _MOST_FACES))]
        systems.append((*_normal_equations(model, teachers, canonical, residual, side, rows, used), used, len(rows)))
    grams, rights, _, _ = zip(*systems, strict=True)
    total = torch.stack(grams).sum(0), torch.stack(rights).sum(0)
    everywhere = _solve(*total, torch.stack([used for _, _, used, _ in systems]).any(0), teachers.pose_only)
    count = max(1, sum(n for _, _, _, n in systems))
    ranges = []
    for gram, right, used, _ in systems:
        prior = torch.diag(total[0].diagonal() / count * _STRENGTH)
        ranges.append(_solve(gram + prior, right + prior @ everywhere, used, teachers.pose_only))
    n = len(teachers.names)
    stacked = torch.stack(ranges)
    return TeacherWeights(teachers.names, stacked[:, :n], stacked[:, n:])


def _normal_equations(
    model: PointModel, teachers: Teachers, canonical: FaceParameters, residual: Tensor, side: Tensor, rows: Tensor,
    used: Tensor,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Return the Gram matrix (2T, 2T) and right side (2T,) of the weights' least squares problem for some faces."""
    n = len(teachers.names)
    gram, right = torch.zeros(2 * n, 2 * n, dtype=torch.float64), torch.zeros(2 * n, dtype=torch.float64)
    noise = ErrorModel.default(model).noise[:, 0, 0].sqrt()
    for some in (rows[side[rows]], rows[~side[rows]]):
        if len(some) < 2:
            continue
        jacobian = canonical[some].jacobian(model)[:, :, :2]
        difference = teachers.difference[some] * used[:, None]
        rotation, shape = difference.clone(), difference.clone()
        rotation[..., 3:], shape[..., :3] = 0, 0
        effect = torch.einsum("npcq,ntq->npct", jacobian, torch.cat([rotation, shape], 1))
        both = torch.cat([effect, residual[some][..., None]], -1)
        # Means over faces belong to the annotation bias.
        known = both[..., -1].isfinite()[..., None]
        both = torch.where(known, both, torch.nan)
        both = ((both - both.nanmean(0)) / noise[:, None, None]).nan_to_num().flatten(0, 2)
        product = both.T @ both
        gram, right = gram + product[:-1, :-1], right + product[:-1, -1]
    return gram, right


def _solve(gram: Tensor, right: Tensor, used: Tensor, pose_only: Tensor) -> Tensor:
    """Return weights (2T,) between 0 and 1 of the used teachers."""
    free = torch.cat([used, used & ~pose_only])
    weights = torch.zeros_like(right)
    if free.any():
        some = free.nonzero()[:, 0]
        matrix = gram[some][:, some]
        lower = torch.linalg.cholesky(matrix + 1e-9 * matrix.diagonal().mean().clamp_min(1e-12) * torch.eye(len(some)))
        target = torch.linalg.solve_triangular(lower, right[some, None], upper=False)[:, 0]
        weights[some] = torch.from_numpy(lsq_linear(lower.T.numpy(), target.numpy(), bounds=(0, 1)).x)
    return weights


def _weighted(weights: Tensor, difference: Tensor) -> Tensor:
    """Return the weighted sum (N, Q) of differences (N, T, Q) with weights (N, T)."""
    return torch.einsum("nt,ntq->nq", weights, difference)


def _yaw_index(faces: FaceParameters) -> Tensor:
    """Return the index (N,) of each face's range of |yaw|."""
    return torch.bucketize(yaw_deg(faces).abs(), torch.tensor(ABSOLUTE_YAW_BOUNDS_DEG, dtype=torch.float64))
