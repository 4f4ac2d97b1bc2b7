"""What hand labels and a network's predictions are worth: offsets, noise and error covariances, learnt from both.

For one group of faces (a data set and a range of yaw), seen in the canonical frame of the predicted face (in-plane
rotation removed, scale 1 per face size, centre at 0, y up):

    hand label - predicted point = offset + J d + noise,    d ~ N(0, C),    noise ~ N(0, D) per point

where J is the Jacobian of the evidence points at the prediction, d the prediction's error in the model's parameters,
`offset` (P, 2) the difference of convention between hand labels and model vertices, D (P, 2, 2) what a hand label
scatters by. Missing points are left out face by face. Expectation-maximisation estimates offset, D and C: d is what
moves many points together as the model would, noise is what does not. No third party's 3D labels are needed.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from train.labels.fit import Basis, Faces


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
        return (points - self.origin[:, None]) @ self.turn.transpose(-1, -2) / self.scale[:, None, None]

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
        undo = self.turn.transpose(-1, -2)
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
    """Calibration of one data set and one range of yaw: offset (P, 2), noise (P, 2, 2), covariance (Q, Q), count."""

    offset: Tensor
    noise: Tensor
    covariance: Tensor
    n_faces: int


def default_covariance(n_coefficients: int) -> Tensor:
    """A first guess of a prediction's error covariance (Q, Q): 3 degrees, 2 % of scale, 1.5 % of position, 0.5 sigma."""
    std = torch.tensor([0.05] * 3 + [0.02] + [0.015] * 3 + [0.5] * n_coefficients, dtype=torch.float64)
    return std.square().diag()


def calibrate(
    basis: Basis, predicted: Faces, hand: Tensor, initial: Group | None = None, iterations: int = 12
) -> Group:
    """Estimate a `Group` from predicted faces (image frame, y up) and hand labels (N, P, 3), NaN where unknown.

    `initial` is what a small group is drawn towards, with the weight of 100 faces.
    """
    frame = Frame.of(predicted)
    canonical = frame.faces(predicted)
    points, jacobian = canonical.jacobian(basis)
    jacobian = jacobian[:, :, :2]
    residual = (frame.points(hand) - points)[..., :2]
    seen = residual.isfinite().all(-1)
    good = _inliers(residual, seen)
    residual, seen, jacobian = residual[good].nan_to_num(), seen[good], jacobian[good]
    n, p = seen.shape
    prior_faces = 100.0 if initial is not None else 0.0
    group = initial or Group(
        torch.zeros(p, 2, dtype=torch.float64),
        (torch.eye(2, dtype=torch.float64) * 0.02**2).expand(p, 2, 2),
        default_covariance(basis.modes.shape[-1]),
        0,
    )
    count = seen.sum(0)
    prior_group, prior_points = group, prior_faces if initial is not None else 10.0
    weight = torch.ones(n, dtype=torch.float64)
    for _ in range(iterations):
        sums = [torch.zeros(p, 2, dtype=torch.float64) for _ in range(1)]
        second, covariance = torch.zeros(p, 2, 2, dtype=torch.float64), torch.zeros_like(group.covariance)
        precision = torch.linalg.inv(group.noise)
        held = torch.linalg.inv(group.covariance)
        explained = []
        for at in range(0, n, 1024):
            some = slice(at, at + 1024)
            weighted = (precision * seen[some, :, None, None]) @ jacobian[some]
            posterior = torch.linalg.inv(jacobian[some].flatten(1, 2).mT @ weighted.flatten(1, 2) + held)
            d = torch.einsum("nqr,npcr,npc->nq", posterior, weighted, residual[some] - group.offset)
            left = (residual[some] - torch.einsum("npcq,nq->npc", jacobian[some], d)) * seen[some, :, None]
            sums[0] += left.sum(0)
            explained.append((left, posterior, d))
            covariance += d.mT @ d + posterior.sum(0)
        offset = (sums[0] + prior_points * prior_group.offset) / (count + prior_points)[:, None]
        for at, (left, posterior, _) in zip(range(0, n, 1024), explained, strict=True):
            some = slice(at, at + 1024)
            left = (left - offset) * seen[some, :, None]
            spread = (jacobian[some] @ posterior[:, None]) @ jacobian[some].mT
            second += torch.einsum("npc,npd->pcd", left, left) + (spread * seen[some, :, None, None]).sum(0)
        noise = (second + prior_points * prior_group.noise) / (count + prior_points)[:, None, None]
        covariance = (covariance + prior_faces * prior_group.covariance) / (n + prior_faces)
        group = Group(offset, noise, covariance, n)
    del weight
    return group


def _inliers(residual: Tensor, seen: Tensor, limit: float = 0.25) -> Tensor:
    """(N,) faces with at least 10 seen points whose mean distance to the prediction is below `limit` face sizes."""
    distance = residual.nan_to_num().norm(dim=-1) * seen
    enough = seen.sum(-1) >= 10
    return enough & (distance.sum(-1) / seen.sum(-1).clamp_min(1) < limit)
