"""Face parameters and morphable models in the coordinates of the label solver.

Frame: x right, **y up**, z towards the camera, image pixels; y up = -(image y), so an image point (x, y) is (x, -y).
Lengths of the morphable model are in face sizes: one face size is sqrt(width * height) of the frontal landmark box of
the mean face. The camera is scaled orthographic (see `synergy.geometry`).

A small change of one face is a vector of Q = 7 + K local coordinates, in this order: rotation vector (3, camera axes,
radians), log scale (1), translation (3) and coefficients (K, in standard deviations).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self

import numpy as np
import torch
from kornia.geometry.conversions import axis_angle_to_rotation_matrix, rotation_matrix_to_axis_angle
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pad

from bfm_assets.schema import MorphableModel
from synergy.crop import affine_scale
from synergy.geometry import compose_pose, decompose_pose, flip_y
from synergy.parameters import join_parameters, split_pose
from train.relabel import fit_coefficients

N_LOCAL_POSE = 7

# The six entries of a symmetric 3x3 matrix.
UPPER_TRIANGLE = ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))


class RowWise:
    """Base of dataclasses whose fields are tensors, or other `RowWise` objects, with one row per face."""

    def __len__(self) -> int:
        return len(next(iter(vars(self).values())))

    def __getitem__(self, index: Tensor | slice) -> Self:
        return type(self)(*(field[index] for field in vars(self).values()))

    def where(self, mask: Tensor, other: Self) -> Self:
        """Select rows of this object where `mask` (N,) holds and rows of `other` elsewhere."""

        def select(mine: Any, theirs: Any) -> Any:
            if isinstance(mine, RowWise):
                return mine.where(mask, theirs)
            return torch.where(mask.reshape(-1, *[1] * (mine.dim() - 1)), mine, theirs)

        return type(self)(*map(select, vars(self).values(), vars(other).values()))

    def replace_rows(self, indices: Tensor, other: Self) -> Self:
        """Return a copy in which the rows `indices` (M,) are the M rows of `other`."""
        position = torch.full((len(self),), -1)
        position[indices] = torch.arange(len(indices))
        return self.where(position < 0, other[position.clamp_min(0)])

    @classmethod
    def concatenate(cls, parts: Sequence[Self]) -> Self:
        """Join parts row after row."""

        def join(*column: Any) -> Any:
            return column[0].concatenate(column) if isinstance(column[0], RowWise) else torch.cat(column)

        return cls(*map(join, *(vars(part).values() for part in parts)))


@dataclass(frozen=True)
class PointModel:
    """A morphable model at P observed points, in face sizes and float64.

    Attributes:
        morphable_model: the model that it was made from.
        mean: (P, 3) points of the mean face, relative to its centre.
        modes: (P, 3, K) displacement per standard deviation of each coefficient, shape before expression.
        centre: (3,) mean of the 68 landmarks of the mean face, in model units.
        unit: model units per face size.
        coefficient_std: (K,) standard deviations in the model's raw coefficients.
        bounds: (2, K) lowest and highest coefficients, in standard deviations. Weights of named blendshapes lie in
            0..1, other coefficients are not bounded.
    """

    morphable_model: MorphableModel
    mean: Tensor
    modes: Tensor
    centre: Tensor
    unit: float
    coefficient_std: Tensor
    bounds: Tensor

    @classmethod
    def create(cls, model: MorphableModel, combinations: Tensor | None = None) -> PointModel:
        """Restrict a morphable model to observed points.

        Args:
            model: the morphable model.
            combinations: (P, 68) weights of the landmarks in each observed point; the 68 landmarks by default.
        """
        points = model.landmark_model()
        mean, modes, std = (torch.from_numpy(a).double() for a in (points.mean, points.basis, points.coefficient_std))
        width, height, _ = (mean.amax(0) - mean.amin(0)).tolist()
        unit, centre = (width * height) ** 0.5, mean.mean(0)
        mean, modes = (mean - centre) / unit, modes * std / unit
        if combinations is not None:
            mean = combinations.to(mean) @ mean
            modes = torch.einsum("pl,lck->pck", combinations.to(modes), modes)
        bounds = torch.tensor([[-torch.inf], [torch.inf]], dtype=torch.float64).repeat(1, len(std))
        if model.expression_names:
            bounds[0, model.n_shape :], bounds[1, model.n_shape :] = 0, 1 / std[model.n_shape :]
        return cls(model, mean, modes, centre, unit, std, bounds)

    @property
    def is_bounded(self) -> bool:
        """Whether some coefficients have bounds, as weights of named expressions do."""
        return bool(self.bounds.isfinite().any())

    @property
    def n_points(self) -> int:
        """Number P of observed points."""
        return len(self.mean)

    @property
    def n_coefficients(self) -> int:
        """Number K of shape and expression coefficients."""
        return self.modes.shape[-1]

    @property
    def n_local(self) -> int:
        """Number Q of local coordinates of a face."""
        return N_LOCAL_POSE + self.n_coefficients

    @cached_property
    def mode_products(self) -> Tensor:
        """(6 P, K (K + 1) / 2): contribution of each entry of a point's symmetric 3x3 matrix M to modes^T M modes."""
        upper = torch.triu_indices(self.n_coefficients, self.n_coefficients)
        columns = []
        for c, d in UPPER_TRIANGLE:
            product = self.modes[:, c, upper[0]] * self.modes[:, d, upper[1]]
            swapped = self.modes[:, d, upper[0]] * self.modes[:, c, upper[1]]
            columns.append(product if c == d else product + swapped)
        return torch.stack(columns, 1).flatten(0, 1)


@dataclass(frozen=True)
class FaceParameters(RowWise):
    """Parameters of N faces.

    Attributes:
        rotation: (N, 3, 3) from model to camera axes.
        log_scale: (N,) natural logarithm of pixels per face size.
        translation: (N, 3) position of the model's centre in pixels, y up.
        coefficients: (N, K) in standard deviations, shape before expression.
    """

    rotation: Tensor
    log_scale: Tensor
    translation: Tensor
    coefficients: Tensor

    @classmethod
    def from_vectors(cls, model: PointModel, vectors: Tensor, height: float) -> FaceParameters:
        """Convert parameter vectors (N, 12 + K) of an image with `height` pixels: pose, raw shape, raw expression."""
        pose, coefficients = split_pose(vectors.double())
        scale, rotation, translation = decompose_pose(pose)
        translation = translation - translation.new_tensor([0.0, height, 0.0])
        translation = translation + scale[:, None] * (rotation @ model.centre)
        return cls(rotation, (scale * model.unit).log(), translation, coefficients / model.coefficient_std)

    @classmethod
    def from_landmarks(
        cls, model: PointModel, landmarks: NDArray[np.floating], rotation: NDArray[np.floating], noise: float
    ) -> FaceParameters:
        """Fit a morphable model to 3D landmarks under known rotations.

        Args:
            model: the morphable model at its 68 landmarks.
            landmarks: (N, 68, 3) in image pixels, y down.
            rotation: (N, 3, 3).
            noise: standard deviation of a landmark coordinate, in face sizes (`train.relabel.fit_coefficients`).
        """
        vectors = fit_coefficients(model.morphable_model, landmarks, rotation, side=0, noise=noise)
        return cls.from_vectors(model, torch.from_numpy(vectors), 0.0)

    def to_pose(self, model: PointModel, height: float) -> Tensor:
        """Return poses (N, 12) of an image with `height` pixels, in model units (see `synergy.geometry`)."""
        scale = self.log_scale.exp() / model.unit
        translation = self.translation - scale[:, None] * (self.rotation @ model.centre)
        return compose_pose(scale, self.rotation, translation + translation.new_tensor([0.0, height, 0.0]))

    def to_vectors(self, model: PointModel, height: float) -> Tensor:
        """Return parameter vectors (N, 12 + K), the inverse of `from_vectors`."""
        return join_parameters(self.to_pose(model, height), self.coefficients * model.coefficient_std)

    def retract(self, step: Tensor) -> FaceParameters:
        """Change the faces by local coordinates (N, Q)."""
        return FaceParameters(
            axis_angle_to_rotation_matrix(step[:, :3]) @ self.rotation,
            self.log_scale + step[:, 3],
            self.translation + step[:, 4:7],
            self.coefficients + step[:, N_LOCAL_POSE:],
        )

    def local_coordinates(self, base: FaceParameters) -> Tensor:
        """Return the local coordinates (N, Q) that change `base` into these faces, the inverse of `retract`."""
        return torch.cat(
            [
                rotation_matrix_to_axis_angle(self.rotation @ base.rotation.mT),
                (self.log_scale - base.log_scale)[:, None],
                self.translation - base.translation,
                self.coefficients - base.coefficients,
            ],
            -1,
        )

    def clamp(self, model: PointModel) -> FaceParameters:
        """Move the coefficients into the bounds of a morphable model."""
        return replace(self, coefficients=self.coefficients.clamp(*model.bounds))

    def project(self, model: PointModel) -> Tensor:
        """Return the observed points (N, P, 3) in pixels, y up."""
        return self.rotated_points(model) + self.translation[:, None]

    def landmarks(self, model: PointModel) -> NDArray[np.float64]:
        """Return the observed points (N, P, 3) in image pixels, y down."""
        return flip_y(self.project(model)).numpy()

    def rotated_points(self, model: PointModel) -> Tensor:
        """Return the observed points (N, P, 3) relative to the model's centre, in pixels, y up."""
        flat = model.modes.reshape(-1, model.n_coefficients)
        shape = model.mean + (self.coefficients @ flat.T).unflatten(-1, (-1, 3))
        return (shape @ self.rotation.mT) * self.log_scale.exp()[:, None, None]

    def jacobian(self, model: PointModel) -> Tensor:
        """Return the derivatives (N, P, 3, Q) of the observed points with respect to the local coordinates."""
        matrix = self.rotation * self.log_scale.exp()[:, None, None]
        by_modes = (matrix @ model.modes.transpose(0, 1).flatten(1)).unflatten(-1, model.modes.shape[::2])
        return torch.cat([pose_jacobian(self.rotated_points(model)), by_modes.transpose(1, 2)], -1)

    def centre_depth(self, model: PointModel) -> FaceParameters:
        """Move the faces along z until the mean depth of their observed points is zero."""
        depth = self.project(model)[..., 2].mean(1)
        return replace(self, translation=self.translation - pad(depth[:, None], (2, 0)))

    def rotate(self, rotation: NDArray[np.floating], centre: NDArray[np.floating]) -> FaceParameters:
        """Rotate the faces about an image point (3,), y down, by a rotation (3, 3) in camera axes."""
        matrix, origin = torch.from_numpy(rotation), torch.from_numpy(flip_y(centre))
        translation = (self.translation - origin) @ matrix.mT + origin
        return FaceParameters(matrix @ self.rotation, self.log_scale, translation, self.coefficients)

    def transform(self, affine: NDArray[np.floating]) -> FaceParameters:
        """Return the faces after image maps (N, 2, 3), y down, that scale uniformly and shift."""
        scale = torch.from_numpy(np.asarray(affine_scale(affine)))
        shift = torch.from_numpy(flip_y(np.asarray(affine[:, :, 2], np.float64)))
        plane = self.translation[:, :2] * scale[:, None] + shift
        translation = torch.cat([plane, self.translation[:, 2:] * scale[:, None]], -1)
        return FaceParameters(self.rotation, self.log_scale + scale.log(), translation, self.coefficients)


def pose_jacobian(rotated: Tensor) -> Tensor:
    """Return derivatives (N, P, 3, 7) of points (N, P, 3), relative to the centre, by the local pose coordinates."""
    x, y, z = rotated.unbind(-1)
    zero, one = torch.zeros_like(x), torch.ones_like(x)
    rows = (
        (zero, z, -y, x, one, zero, zero),
        (-z, zero, x, y, zero, one, zero),
        (y, -x, zero, z, zero, zero, one),
    )
    return torch.stack([torch.stack(row, -1) for row in rows], -2)
