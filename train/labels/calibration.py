"""What hand labels and a network's predictions are worth: offsets, noise and error covariances, learnt from both.

For one group of faces (a data set and a range of yaw), seen in the canonical frame of the predicted face (in-plane
rotation removed, scale 1 per face size, centre at 0, y up):

    hand label - predicted point = offset + J d + noise,    d ~ N(0, C),    noise ~ N(0, D) per point

where J is the Jacobian of the evidence points at the prediction, d the prediction's error in the model's parameters,
`offset` (P, 2) the difference of convention between hand labels and model vertices, D (P, 2, 2) what a hand label
scatters by. Missing points are left out face by face. Expectation-maximisation estimates offset, D and C: d is what
moves many points together as the model would, noise is what does not. No third party's 3D labels are needed.

d has mean zero in every group: what hand labels and predictions disagree about on average is convention, the hand
label's, and goes to the offset, also where the model could follow it (a jaw traced along the silhouette looks like a
face turned less). Its share is moved there in every round, as expectation-maximisation alone would take hundreds.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bfm_assets.npz import read_arrays
from train.labels.fit import N_POSE, Basis, Faces, normal_equations


@dataclass(frozen=True)
class Frame:
    """The canonical frame of N faces: point -> turn @ (point - origin) / scale."""

    turn: Tensor
    origin: Tensor
    scale: Tensor

    @classmethod
    def of(cls, faces: Faces) -> Frame:
        """Frame in which the model's up axis is vertical in the image, one face size is 1, and the centre is at 0."""
        up = faces.rotation[:, :2, 1]
        sine, cosine = torch.nn.functional.normalize(up, dim=-1).unbind(-1)
        zero, one = torch.zeros_like(sine), torch.ones_like(sine)
        rows = ((cosine, -sine, zero), (sine, cosine, zero), (zero, zero, one))
        turn = torch.stack([torch.stack(row, -1) for row in rows], -2)
        return cls(turn, faces.translation, faces.log_scale.exp())

    def __getitem__(self, index: Tensor | slice) -> Frame:
        return Frame(self.turn[index], self.origin[index], self.scale[index])

    def points(self, points: Tensor) -> Tensor:
        """(N, P, 3) points into the frame."""
        moved = points - self.origin[:, None]
        plane = moved[..., :2] @ self.turn[:, :2, :2].mT  # apart from z, which may be NaN
        return torch.cat([plane, moved[..., 2:]], -1) / self.scale[:, None, None]

    def faces(self, faces: Faces) -> Faces:
        """Faces into the frame."""
        return Faces(
            self.turn @ faces.rotation,
            faces.log_scale - self.scale.log(),
            self.points(faces.translation[:, None])[:, 0],
            faces.coefficients,
        )

    def back(self, faces: Faces) -> Faces:
        """Faces out of the frame."""
        undo = self.turn.mT
        return Faces(
            undo @ faces.rotation,
            faces.log_scale + self.scale.log(),
            self.scale[:, None] * (undo @ faces.translation[..., None])[..., 0] + self.origin,
            faces.coefficients,
        )


def yaw_deg(faces: Faces) -> Tensor:
    """(N,) yaw in degrees: which way the face's own z axis points, whatever the in-plane rotation."""
    turned = Frame.of(faces).turn @ faces.rotation
    return torch.atan2(-turned[:, 0, 2], turned[:, 2, 2]).rad2deg()


@dataclass(frozen=True)
class Group:
    """What one data set's hand labels, and a network's predictions on it, are worth in one range of yaw.

    Attributes:
        offset: (P, 2) hand label minus model point, face sizes, canonical frame.
        noise: (P, 2, 2) covariance of a hand label about that.
        covariance: (Q, Q) covariance of the prediction's error in local coordinates, canonical frame.
        n_faces: how many faces it was learnt from.
    """

    offset: Tensor
    noise: Tensor
    covariance: Tensor
    n_faces: int

    @classmethod
    def guess(cls, basis: Basis) -> Group:
        """Before any data: no offset, 2 % of scatter, 4 % on the jaw; 3 degrees, 2 % of scale, 1.5 % of position, 0.5
        standard deviations of each coefficient."""
        p, k = basis.modes.shape[::2]
        std = torch.tensor([0.05] * 3 + [0.02] + [0.015] * 3 + [0.5] * k, dtype=torch.float64)
        scatter = torch.full((p,), 0.02, dtype=torch.float64)
        scatter[:17] = 0.04
        noise = torch.eye(2, dtype=torch.float64) * scatter[:, None, None].square()
        return cls(torch.zeros(p, 2, dtype=torch.float64), noise, std.square().diag(), 0)

    def held(self) -> Tensor:
        """Precision (Q, Q) of a prediction: its errors', plus the model's own, as no coefficient leaves its range."""
        own = torch.cat([torch.zeros(N_POSE), torch.ones(len(self.covariance) - N_POSE)]).to(self.covariance)
        return torch.linalg.inv(self.covariance) + own.diag()

    def precision(self, hand: Tensor) -> Tensor:
        """(N, P, 3, 3) of labels (N, P, 3): zero where NaN; a label that has a z is as sure of it as of x and y."""
        inverse = torch.linalg.inv(self.noise)
        out = hand.new_zeros(*hand.shape, 3)
        out[..., :2, :2] = inverse * hand[..., :2].isfinite().all(-1)[..., None, None]
        out[..., 2, 2] = inverse.diagonal(dim1=-2, dim2=-1).mean(-1) * hand.isfinite().all(-1)
        return out


def calibrate(
    basis: Basis,
    predicted: Faces,
    hand: Tensor,
    initial: Group,
    strength: float,
    iterations: int = 10,
    most: int = 1500,
) -> Group:
    """Estimate a `Group` from predicted faces and labels (N, P, 3), both in the image frame, y up; NaN where unknown.

    The estimate is drawn towards `initial` with the weight of `strength` faces; of more than `most` faces, every k-th
    is used.
    """
    frame = Frame.of(predicted)
    canonical, labels = frame.faces(predicted), frame.points(hand)
    good = _inliers((labels - canonical.points(basis))[..., :2]).nonzero()[:, 0]
    good = good[:: max(1, -(-len(good) // most))]
    canonical, labels = canonical[good], labels[good]
    seen = labels[..., :2].isfinite().all(-1).to(labels)
    count = seen.sum(0)[:, None] + strength
    group = initial
    for _ in range(iterations):
        held = torch.linalg.inv(group.covariance)
        precision = group.precision(labels)
        shift, second = strength * initial.offset, strength * initial.noise
        covariance = strength * initial.covariance
        errors, seen_jacobian = torch.zeros_like(held[0]), torch.zeros_like(shift[..., None] * held[0])
        for at in range(0, len(labels), 512):
            some = slice(at, at + 512)
            believed = (labels[some] - torch.nn.functional.pad(group.offset, (0, 1))).nan_to_num()
            normal, gradient = normal_equations(basis, believed, precision[some], canonical[some])
            posterior = torch.linalg.inv(normal + held)
            error = -(posterior @ gradient[..., None])
            jacobian = canonical[some].jacobian(basis)[:, :, :2].flatten(1, 2)
            moved = (jacobian @ error).unflatten(1, (-1, 2))[..., 0]
            explained = canonical[some].points(basis)[..., :2] + moved
            left = (labels[some, :, :2] - explained).nan_to_num() * seen[some, :, None]
            errors = errors + error[..., 0].sum(0)
            seen_jacobian = seen_jacobian + (jacobian.unflatten(1, (-1, 2)) * seen[some, :, None, None]).sum(0)
            through, direct = (j.unflatten(1, (-1, 2)) for j in (jacobian @ posterior, jacobian))
            spread = torch.stack([(through * direct[:, :, d, None]).sum(-1) for d in (0, 1)], -1)
            about = left - group.offset * seen[some, :, None]
            shift = shift + left.sum(0)
            second = second + torch.einsum("npc,npd->pcd", about, about)
            second = second + (spread * seen[some, :, None, None]).sum(0)
            covariance = covariance + error[..., 0].mT @ error[..., 0] + posterior.sum(0)
        shift = shift + seen_jacobian @ errors / max(1, len(labels))
        group = Group(shift / count, second / count[..., None], covariance / (len(labels) + strength), len(labels))
    return group


def _inliers(residual: Tensor, limit: float = 0.25) -> Tensor:
    """(N,) faces with at least 10 seen points whose mean distance to the prediction is below `limit` face sizes."""
    seen = residual.isfinite().all(-1)
    mean = residual.nan_to_num().norm(dim=-1).sum(-1) / seen.sum(-1).clamp_min(1)
    return (seen.sum(-1) >= 10) & (mean < limit)


# Bounds of the ranges of yaw in degrees: signed, because neither faces nor model modes are symmetric.
YAW_BOUNDS = (-75.0, -60.0, -45.0, -30.0, -20.0, -10.0, 10.0, 20.0, 30.0, 45.0, 60.0, 75.0)


@dataclass(frozen=True)
class Calibration:
    """One data set's `Group` for each range of yaw between `YAW_BOUNDS`, and the mean face of its predictions.

    Attributes:
        groups: one a range.
        coefficients: (K,) mean coefficients, in standard deviations: the prior's where labels stand alone.
    """

    groups: tuple[Group, ...]
    coefficients: Tensor

    @classmethod
    def learn(cls, basis: Basis, predicted: Faces, hand: Tensor) -> Calibration:
        """From all faces of a data set first, then each range of yaw with the whole as the weight of 20 faces."""
        whole = calibrate(basis, predicted, hand, Group.guess(basis), 10.0)
        index = yaw_range(predicted)
        return cls(
            tuple(
                calibrate(basis, predicted[index == i], hand[index == i], whole, 20.0)
                for i in range(len(YAW_BOUNDS) + 1)
            ),
            predicted.coefficients.mean(0),
        )

    @classmethod
    def guess(cls, basis: Basis) -> Calibration:
        """For labels about which nothing is known."""
        groups = (Group.guess(basis),) * (len(YAW_BOUNDS) + 1)
        return cls(groups, torch.zeros(basis.modes.shape[-1], dtype=torch.float64))

    def save(self, path: Path) -> None:
        """Write an `.npz`."""
        fields: dict[str, Any] = {
            "n_faces": np.array([group.n_faces for group in self.groups]),
            "coefficients": self.coefficients.numpy(),
        }
        for name in _TENSORS:
            fields[name] = torch.stack([getattr(group, name) for group in self.groups]).numpy()
        np.savez_compressed(path, **fields)

    @classmethod
    def load(cls, path: Path) -> Calibration:
        """Read what `save` wrote."""
        arrays = read_arrays(path, (*_TENSORS, "n_faces", "coefficients"), "label calibration")
        rows = zip(*(torch.from_numpy(arrays[name]) for name in _TENSORS), arrays["n_faces"].tolist(), strict=True)
        return cls(tuple(Group(*row) for row in rows), torch.from_numpy(arrays["coefficients"]))


_TENSORS = ("offset", "noise", "covariance")


def yaw_range(faces: Faces) -> Tensor:
    """(N,) index of each face's range of yaw."""
    return torch.bucketize(yaw_deg(faces), torch.tensor(YAW_BOUNDS, dtype=torch.float64))
