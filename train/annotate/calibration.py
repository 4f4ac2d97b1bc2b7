"""Estimate annotation bias, annotation noise and prediction covariance by expectation-maximisation (EM).

For one data set and one range of yaw, in the canonical frame of the predicted face (in-plane rotation removed, one face
size is 1, centre at 0, y up):

    annotation - predicted point = bias + J d + noise,    d ~ N(0, C),    noise ~ N(0, D) per point

J is the Jacobian of the observed points at the prediction and d is the error of the prediction in local coordinates.
The bias (P, 2) is the difference between what annotators and what the morphable model mean by a point. D (P, 2, 2) is
the covariance of one annotation. EM separates d from the noise: d moves many points together, as the morphable model
would; the noise moves single points. Unknown points are left out face by face. No 3D annotations are needed.

d has zero mean in every range. What annotations and predictions disagree about on average therefore belongs to the
bias, even where a change of the face could explain it: a jaw that is annotated along the silhouette looks like a
face with less yaw. EM alone would move this part into the bias very slowly, so every iteration moves it explicitly.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize, pad

from bfm_assets.safe_files import read_arrays
from synergy.errors import UserError
from train.annotate.faces import N_LOCAL_POSE, FaceParameters, PointModel, RowWise
from train.annotate.solver import normal_equations

# Bounds of the ranges of yaw in degrees. They are signed, because neither faces nor model modes are symmetric.
SIGNED_YAW_BOUNDS_DEG = (-75.0, -60.0, -45.0, -30.0, -20.0, -10.0, 10.0, 20.0, 30.0, 45.0, 60.0, 75.0)

# Faces per matrix product; most faces used in one estimate.
_CHUNK, _MOST_FACES = 512, 400
_ITERATIONS = 10
# Weight of the initial estimate, in faces: of the whole data set, and of one range of yaw.
_WHOLE_STRENGTH, _RANGE_STRENGTH = 10.0, 20.0
# A face is used when at least this many points are known and their mean distance to the prediction is below this many
# face sizes.
_FEWEST_POINTS, _FARTHEST = 10, 0.25


@dataclass(frozen=True)
class CanonicalFrame(RowWise):
    """The canonical frame of N faces: a point p becomes rotation @ (p - origin) / scale.

    Attributes:
        rotation: (N, 3, 3) in-plane rotation after which the model's up axis is vertical in the image.
        origin: (N, 3) centre of the face in pixels.
        scale: (N,) pixels per face size.
    """

    rotation: Tensor
    origin: Tensor
    scale: Tensor

    @classmethod
    def create(cls, faces: FaceParameters) -> CanonicalFrame:
        """Return the frame in which the faces are upright, have size 1 and their centre at 0."""
        sine, cosine = normalize(faces.rotation[:, :2, 1], dim=-1).unbind(-1)
        zero, one = torch.zeros_like(sine), torch.ones_like(sine)
        rows = ((cosine, -sine, zero), (sine, cosine, zero), (zero, zero, one))
        rotation = torch.stack([torch.stack(row, -1) for row in rows], -2)
        return cls(rotation, faces.translation, faces.log_scale.exp())

    def convert_points(self, points: Tensor) -> Tensor:
        """Convert image points (N, P, 3) to the frame. x and y stay known where z is NaN."""
        moved = points - self.origin[:, None]
        plane = moved[..., :2] @ self.rotation[:, :2, :2].mT
        return torch.cat([plane, moved[..., 2:]], -1) / self.scale[:, None, None]

    def convert(self, faces: FaceParameters) -> FaceParameters:
        """Convert faces from the image to the frame."""
        return FaceParameters(
            self.rotation @ faces.rotation,
            faces.log_scale - self.scale.log(),
            self.convert_points(faces.translation[:, None])[:, 0],
            faces.coefficients,
        )

    def convert_back(self, faces: FaceParameters) -> FaceParameters:
        """Convert faces from the frame to the image, the inverse of `convert`."""
        back = self.rotation.mT
        return FaceParameters(
            back @ faces.rotation,
            faces.log_scale + self.scale.log(),
            self.scale[:, None] * (back @ faces.translation[..., None])[..., 0] + self.origin,
            faces.coefficients,
        )


def yaw_deg(faces: FaceParameters) -> Tensor:
    """Return the yaw (N,) in degrees of the face's forward axis after the in-plane rotation is removed."""
    upright = CanonicalFrame.create(faces).rotation @ faces.rotation
    return torch.atan2(-upright[:, 0, 2], upright[:, 2, 2]).rad2deg()


def yaw_range(faces: FaceParameters) -> Tensor:
    """Return the index (N,) of each face's range between `SIGNED_YAW_BOUNDS_DEG`."""
    return torch.bucketize(yaw_deg(faces), torch.tensor(SIGNED_YAW_BOUNDS_DEG, dtype=torch.float64))


@dataclass(frozen=True)
class ErrorModel(RowWise):
    """Errors of annotations and predictions, in the canonical frame; (...) is any leading shape.

    Attributes:
        bias: (..., P, 2) mean of annotation minus true point, face sizes.
        noise: (..., P, 2, 2) covariance of an annotation about that.
        covariance: (..., Q, Q) covariance of the prediction's error in local coordinates.
    """

    bias: Tensor
    noise: Tensor
    covariance: Tensor

    @classmethod
    def default(cls, model: PointModel) -> ErrorModel:
        """Return the starting values of EM, which are also used for annotations without predictions.

        Annotation noise has a standard deviation of 2 % of the face size, 4 % on the jaw. Predictions err by 3 degrees,
        2 % of the scale, 1.5 % of the face size in position, and half a standard deviation per coefficient.
        """
        pose_std = torch.tensor([0.05] * 3 + [0.02] + [0.015] * 3, dtype=torch.float64)
        std = torch.cat([pose_std, torch.full((model.n_coefficients,), 0.5, dtype=torch.float64)])
        noise_std = torch.full((model.n_points,), 0.02, dtype=torch.float64)
        noise_std[:17] = 0.04
        noise = torch.eye(2, dtype=torch.float64) * noise_std[:, None, None].square()
        return cls(torch.zeros(model.n_points, 2, dtype=torch.float64), noise, std.square().diag())

    def prior_precision(self) -> Tensor:
        """Return the inverse covariance (..., Q, Q) of the prediction's error plus the morphable model's own prior."""
        own = torch.ones(self.covariance.shape[-1]).to(self.covariance)
        own[:N_LOCAL_POSE] = 0
        return torch.linalg.inv(self.covariance) + own.diag()

    def remove_bias(self, points: Tensor) -> Tensor:
        """Return annotations (N, P, 3) without their bias."""
        return points - pad(self.bias, (0, 1))

    def point_precision(self, points: Tensor) -> Tensor:
        """Return the precisions (N, P, 3, 3) of annotations (N, P, 3): zero where NaN.

        The z of a 3D annotation is taken to be as precise as its x and y.
        """
        inverse = torch.linalg.inv(self.noise)
        out = points.new_zeros(*points.shape, 3)
        out[..., :2, :2] = inverse * points[..., :2].isfinite().all(-1)[..., None, None]
        out[..., 2, 2] = inverse.diagonal(dim1=-2, dim2=-1).mean(-1) * points.isfinite().all(-1)
        return out


@dataclass(frozen=True)
class Calibration:
    """The errors of one data set's annotations and predictions in each range of yaw.

    Attributes:
        errors: `ErrorModel` with one row per range.
        n_faces: (13,) number of faces that each range was estimated from.
        mean_coefficients: (K,) mean coefficients of the predictions: prior mean where there is no prediction. Zero if
            there are no predictions.
    """

    errors: ErrorModel
    n_faces: Tensor
    mean_coefficients: Tensor

    @classmethod
    def default(cls, model: PointModel) -> Calibration:
        """Return the calibration for annotations about which nothing is known."""
        n = len(SIGNED_YAW_BOUNDS_DEG) + 1
        one = ErrorModel.default(model)
        errors = ErrorModel(*(value.expand(n, *value.shape) for value in vars(one).values()))
        return cls(errors, torch.zeros(n).long(), torch.zeros(model.n_coefficients, dtype=torch.float64))

    @classmethod
    def estimate(cls, model: PointModel, predicted: FaceParameters, points: Tensor) -> Calibration:
        """Estimate the errors from predicted faces and annotations (N, P, 3), both in the image frame, y up.

        The whole data set is estimated first. It then serves as the initial estimate of each range of yaw.
        """
        whole, _ = estimate_errors(model, predicted, points, ErrorModel.default(model), _WHOLE_STRENGTH)
        index = yaw_range(predicted)
        ranges = [
            estimate_errors(model, predicted[index == i], points[index == i], whole, _RANGE_STRENGTH)
            for i in range(len(SIGNED_YAW_BOUNDS_DEG) + 1)
        ]
        columns = zip(*(vars(errors).values() for errors, _ in ranges), strict=True)
        errors = ErrorModel(*(torch.stack(column) for column in columns))
        # The mean of no predictions is NaN.
        mean = predicted.coefficients.mean(0).nan_to_num()
        return cls(errors, torch.tensor([n for _, n in ranges]), mean)

    def for_faces(self, faces: FaceParameters) -> ErrorModel:
        """Return the errors of each face's range of yaw, one row per face."""
        return self.errors[yaw_range(faces)]

    def save(self, path: str | Path) -> None:
        """Write an `.npz`."""
        tensors = {**vars(self.errors), "n_faces": self.n_faces, "mean_coefficients": self.mean_coefficients}
        arrays: dict[str, Any] = {name: tensor.numpy() for name, tensor in tensors.items()}
        np.savez_compressed(path, **arrays)

    @classmethod
    def load(cls, path: str | Path, model: PointModel) -> Calibration:
        """Read what `save` wrote, for a morphable model.

        Raises:
            ModelFileError: the file cannot be read.
            UserError: it belongs to a morphable model with another number of coefficients.
        """
        names = ("bias", "noise", "covariance", "n_faces", "mean_coefficients")
        arrays = read_arrays(path, names, "label calibration")
        bias, noise, covariance, n_faces, mean = (torch.from_numpy(arrays[name]) for name in names)
        if len(mean) != model.n_coefficients:
            raise UserError(
                f"{path}: it belongs to a morphable model with {len(mean)} coefficients, but this one has "
                f"{model.n_coefficients}"
            )
        return cls(ErrorModel(bias, noise, covariance), n_faces, mean)


def estimate_errors(
    model: PointModel, predicted: FaceParameters, points: Tensor, initial: ErrorModel, strength: float
) -> tuple[ErrorModel, int]:
    """Estimate one `ErrorModel` by EM.

    Args:
        model: the morphable model at the observed points.
        predicted: N predicted faces in the image frame.
        points: (N, P, 3) annotations in pixels, y up; NaN where unknown.
        initial: the estimate to start from.
        strength: weight of `initial` in the result, in faces.

    Returns:
        The estimate and the number of faces used.
    """
    frame = CanonicalFrame.create(predicted)
    canonical, annotated = frame.convert(predicted), frame.convert_points(points)
    used = _inliers((annotated - canonical.project(model))[..., :2]).nonzero()[:, 0]
    used = used[:: max(1, -(-len(used) // _MOST_FACES))]
    canonical, annotated = canonical[used], annotated[used]
    known = annotated[..., :2].isfinite().all(-1).to(annotated)
    count = known.sum(0)[:, None] + strength
    errors = initial
    for _ in range(_ITERATIONS):
        inverse_covariance, precision = torch.linalg.inv(errors.covariance), errors.point_precision(annotated)
        bias_sum, noise_sum = strength * initial.bias, strength * initial.noise
        covariance_sum = strength * initial.covariance
        error_sum = torch.zeros_like(inverse_covariance[0])
        jacobian_sum = torch.zeros_like(bias_sum[..., None] * inverse_covariance[0])
        for start in range(0, len(annotated), _CHUNK):
            rows = slice(start, start + _CHUNK)
            unbiased = errors.remove_bias(annotated[rows]).nan_to_num()
            normal, gradient = normal_equations(model, unbiased, precision[rows], canonical[rows])
            posterior = torch.linalg.inv(normal + inverse_covariance)
            error = -(posterior @ gradient[..., None])
            jacobian = canonical[rows].jacobian(model)[:, :, :2].flatten(1, 2)
            explained = canonical[rows].project(model)[..., :2] + (jacobian @ error).unflatten(1, (-1, 2))[..., 0]
            residual = (annotated[rows, :, :2] - explained).nan_to_num() * known[rows, :, None]
            error_sum = error_sum + error[..., 0].sum(0)
            jacobian_sum = jacobian_sum + (jacobian.unflatten(1, (-1, 2)) * known[rows, :, None, None]).sum(0)
            through, direct = (j.unflatten(1, (-1, 2)) for j in (jacobian @ posterior, jacobian))
            uncertainty = torch.stack([(through * direct[:, :, d, None]).sum(-1) for d in (0, 1)], -1)
            about = residual - errors.bias * known[rows, :, None]
            bias_sum = bias_sum + residual.sum(0)
            noise_sum = noise_sum + torch.einsum("npc,npd->pcd", about, about)
            noise_sum = noise_sum + (uncertainty * known[rows, :, None, None]).sum(0)
            covariance_sum = covariance_sum + error[..., 0].mT @ error[..., 0] + posterior.sum(0)
        bias_sum = bias_sum + jacobian_sum @ error_sum / max(1, len(annotated))
        errors = ErrorModel(
            bias_sum / count, noise_sum / count[..., None], covariance_sum / (len(annotated) + strength)
        )
    return errors, len(annotated)


def _inliers(residual: Tensor) -> Tensor:
    """Return whether (N,) the annotations of a face are many enough and near enough to its prediction."""
    known = residual.isfinite().all(-1)
    mean = residual.nan_to_num().norm(dim=-1).sum(-1) / known.sum(-1).clamp_min(1)
    return (known.sum(-1) >= _FEWEST_POINTS) & (mean < _FARTHEST)
