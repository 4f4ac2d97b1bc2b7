"""JVCR's compact volumes (Zhang et al., "Joint Voxel and Coordinate Regression", arXiv 1801.09242).

All landmarks of a face are drawn into one volume of D x 64 x 64 voxels (z, y, x): a Gaussian of sigma 1 voxel and
peak 1 at each point's voxel, cut off beyond 3 voxels along an axis, combined by maximum. The volume's square has 1.25
times the width of the true landmarks' box and its centre; z has the same scale, and the face's mean depth lies in the
middle.
Voxel centres are at integers. Tensors may be on any device.

Differences from the volumes of JVCR's code (its `datasets/fa68pt3D.py` and `utils/imutils.py`):

- Direction of the depth axis: their first plane is the nearest to the camera, here the last one is. `volume.flip(1)`
  converts.
- Truncation near edges: they round the start of each Gaussian towards zero, so a point less than 3 voxels from the left
  or top edge is drawn one voxel too far from that edge, and a point in front of the first plane is not drawn at all.
  Here every point is drawn at the voxel that contains it, and the part outside the volume is cut off.
- Their Gaussians lie one voxel to the left of and above the point's voxel, and one voxel minus one image pixel in front
  of it. Here they do not.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

RESOLUTION = 64
DEPTHS = (1, 2, 4, 64)
N_POINTS = 71
SIGMA = 1.0
REACH = 3
MARGIN = 1.25


@dataclass(frozen=True, eq=False)
class VolumeFrame:
    """Where the volumes of N faces lie: centre (N, 2) and side (N,) in image pixels."""

    centre: Tensor
    side: Tensor


def frame_of(true: Tensor) -> VolumeFrame:
    """The volumes' place by true landmarks (N, 68, 3): it is the same for predicted ones."""
    low, high = true[..., :2].amin(1), true[..., :2].amax(1)
    return VolumeFrame((low + high) / 2, MARGIN * (high - low)[:, 0])


def with_centres(landmarks: Tensor) -> Tensor:
    """(N, 71, D): the 68 points (N, 68, D), the centres of right eye, left eye (by four points each) and mouth."""
    right = landmarks[:, [37, 38, 40, 41]].mean(1, keepdim=True)
    left = landmarks[:, [43, 44, 46, 47]].mean(1, keepdim=True)
    mouth = landmarks[:, [62, 66]].mean(1, keepdim=True)
    return torch.cat([landmarks, right, left, mouth], 1)


def to_voxels(landmarks: Tensor, frame: VolumeFrame, depth: int) -> Tensor:
    """Voxel coordinates (N, 71, 3) x, y, z of landmarks (N, 68, 3) in image pixels; their mean depth is removed."""
    centred = landmarks - torch.nn.functional.pad(frame.centre, (0, 1))[:, None]
    centred = torch.cat([centred[..., :2], centred[..., 2:] - landmarks[..., 2:].mean(1, keepdim=True)], -1)
    size = centred.new_tensor([RESOLUTION, RESOLUTION, depth])
    return with_centres(centred) * size / frame.side[:, None, None] + (size - 1) / 2


def from_voxels(voxels: Tensor, frame: VolumeFrame, depth: int) -> Tensor:
    """Points (N, P, 3) in image pixels, z about the volume's middle, of voxel coordinates (N, P, 3) x, y, z."""
    size = voxels.new_tensor([RESOLUTION, RESOLUTION, depth])
    points = (voxels - (size - 1) / 2) * frame.side[:, None, None] / size
    return points + torch.nn.functional.pad(frame.centre, (0, 1))[:, None]


def nearest_voxels(voxels: Tensor) -> Tensor:
    """The integer voxels (..., 3) that coordinates (..., 3) fall into."""
    return (voxels + 0.5).floor().long()


def encode(voxels: Tensor, depth: int) -> Tensor:
    """Compact volumes (N, depth, 64, 64) float32 of voxel coordinates (N, P, 3) x, y, z; what is outside is cut off."""
    n = len(voxels)
    steps = torch.arange(-REACH, REACH + 1, device=voxels.device)
    offsets = torch.cartesian_prod(steps, steps, steps)
    values = torch.exp(-offsets.square().sum(-1) / (2 * SIGMA**2))
    x, y, z = (nearest_voxels(voxels)[:, :, None] + offsets).unbind(-1)
    inside = (x >= 0) & (x < RESOLUTION) & (y >= 0) & (y < RESOLUTION) & (z >= 0) & (z < depth)
    size = depth * RESOLUTION * RESOLUTION
    index = torch.where(inside, (z * RESOLUTION + y) * RESOLUTION + x, size).flatten(1)
    volumes = torch.zeros(n, size + 1, device=voxels.device)
    volumes.scatter_reduce_(1, index, values.expand(n, voxels.shape[1], -1).flatten(1), "amax")
    return volumes[:, :size].view(n, depth, RESOLUTION, RESOLUTION)


def encode_each(voxels: Tensor, depth: int) -> Tensor:
    """The per-landmark form (N, P, depth, 64, 64): one volume for each of the points (N, P, 3)."""
    volumes = encode(voxels.flatten(0, 1)[:, None], depth)
    return volumes.view(*voxels.shape[:2], *volumes.shape[1:])


def decode(volumes: Tensor) -> Tensor:
    """Peaks (..., 3) x, y, z of per-landmark volumes (..., depth, 64, 64), to a fraction of a voxel.

    The largest voxel, moved along each axis to the top of the parabola through the logarithms of it and its two
    neighbours: exact for a Gaussian anywhere between voxels. At an edge of the volume it is not moved.
    """
    shape = volumes.shape[-3:]
    flat = volumes.flatten(-3)
    best = flat.argmax(-1, keepdim=True)
    strides = (1, shape[2], shape[1] * shape[2])
    coordinates = []
    for stride, length in zip(strides, reversed(shape), strict=True):
        at = (best // stride) % length
        inner = (at > 0) & (at < length - 1)
        low, middle, high = (
            flat.gather(-1, torch.where(inner, best + step * stride, best)).clamp_min(1e-12).log()
            for step in (-1, 0, 1)
        )
        bend = (2 * middle - low - high).clamp_min(1e-6)
        shift = ((high - low) / (2 * bend)).clamp(-0.5, 0.5)
        coordinates.append(at + torch.where(inner, shift, 0.0))
    return torch.cat(coordinates, -1)


def volume_errors(predicted: Tensor, true: Tensor) -> tuple[Tensor, Tensor]:
    """Mean squared error (N,) and soft overlap (N,), sum of minima over sum of maxima, of volumes (N, D, H, W)."""
    p, t = predicted.flatten(1), true.flatten(1)
    overlap = torch.minimum(p, t).sum(1) / torch.maximum(p, t).sum(1).clamp_min(1e-12)
    return (p - t).square().mean(1), overlap
