"""JVCR's compact volumes (Zhang et al., "Joint Voxel and Coordinate Regression", arXiv 1801.09242).

All landmarks of a face are drawn into one volume of D x 64 x 64 voxels (z, y, x): a Gaussian of sigma 1 voxel and
peak 1 at each point's voxel, cut off beyond 3 voxels along an axis. Where Gaussians overlap, the maximum is taken. The
front face of the volume is a square around the centre of the true landmarks' box, 1.25 times as wide as that box. z has
the same scale, and the face's mean depth lies in the middle. Voxel centres are at integers. Tensors may be on any
device.

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

RESOLUTION = 64  # planes have this many voxels along x and y
DEPTHS = (1, 2, 4, 64)
N_POINTS = 71
SIGMA = 1.0
TRUNCATION = 3  # Gaussians are cut off beyond this many voxels
MARGIN = 1.25


@dataclass(frozen=True, eq=False)
class VolumeFrame:
    """Where the volumes of N faces lie in their images.

    Attributes:
        centre: (N, 2) in image pixels.
        side: (N,) in image pixels.
    """

    centre: Tensor
    side: Tensor


def volume_frame(true: Tensor) -> VolumeFrame:
    """Compute the place of the volumes from true landmarks (N, 68, 3). Predicted landmarks use the same place."""
    low, high = true[..., :2].amin(1), true[..., :2].amax(1)
    return VolumeFrame((low + high) / 2, MARGIN * (high - low)[:, 0])


def append_centres(landmarks: Tensor) -> Tensor:
    """Append the centres of right eye, left eye and mouth, as JVCR does.

    Args:
        landmarks: (N, 68, D).

    Returns:
        (N, 71, D). An eye's centre is the mean of its two upper and two lower points, the mouth's centre that of the
        middle points of the inner lips.
    """
    right = landmarks[:, [37, 38, 40, 41]].mean(1, keepdim=True)
    left = landmarks[:, [43, 44, 46, 47]].mean(1, keepdim=True)
    mouth = landmarks[:, [62, 66]].mean(1, keepdim=True)
    return torch.cat([landmarks, right, left, mouth], 1)


def to_voxels(landmarks: Tensor, frame: VolumeFrame, depth: int, resolution: int = RESOLUTION) -> Tensor:
    """Convert landmarks to voxel coordinates.

    Args:
        landmarks: (N, 68, 3) in image pixels. Their mean depth is removed.
        frame: place of the volumes.
        depth: number of voxels along z.
        resolution: number of voxels along x and y.

    Returns:
        (N, 71, 3) x, y, z of the points of `append_centres`, in voxels.
    """
    centred = landmarks - torch.nn.functional.pad(frame.centre, (0, 1))[:, None]
    centred = torch.cat([centred[..., :2], centred[..., 2:] - landmarks[..., 2:].mean(1, keepdim=True)], -1)
    size = centred.new_tensor([resolution, resolution, depth])
    return append_centres(centred) * size / frame.side[:, None, None] + (size - 1) / 2


def from_voxels(voxels: Tensor, frame: VolumeFrame, depth: int, resolution: int = RESOLUTION) -> Tensor:
    """Convert voxel coordinates to image pixels; the inverse of `to_voxels`.

    Args:
        voxels: (N, P, 3) x, y, z.
        frame: place of the volumes.
        depth: number of voxels along z.
        resolution: number of voxels along x and y.

    Returns:
        (N, P, 3) in image pixels. z is relative to the middle of the volume.
    """
    size = voxels.new_tensor([resolution, resolution, depth])
    points = (voxels - (size - 1) / 2) * frame.side[:, None, None] / size
    return points + torch.nn.functional.pad(frame.centre, (0, 1))[:, None]


def nearest_voxels(voxels: Tensor) -> Tensor:
    """Return the integer voxels (..., 3) that contain voxel coordinates (..., 3)."""
    return (voxels + 0.5).floor().long()


def encode(voxels: Tensor, depth: int, resolution: int = RESOLUTION) -> Tensor:
    """Draw all points of a face into one volume.

    Args:
        voxels: (N, P, 3) x, y, z. Parts outside the volume are cut off.
        depth: number of voxels along z.
        resolution: number of voxels along x and y.

    Returns:
        (N, depth, resolution, resolution) float32 in 0..1.
    """
    n = len(voxels)
    steps = torch.arange(-TRUNCATION, TRUNCATION + 1, device=voxels.device)
    offsets = torch.cartesian_prod(steps, steps, steps)
    values = torch.exp(-offsets.square().sum(-1) / (2 * SIGMA**2))
    x, y, z = (nearest_voxels(voxels)[:, :, None] + offsets).unbind(-1)
    inside = (x >= 0) & (x < resolution) & (y >= 0) & (y < resolution) & (z >= 0) & (z < depth)
    size = depth * resolution * resolution
    index = torch.where(inside, (z * resolution + y) * resolution + x, size).flatten(1)
    volumes = torch.zeros(n, size + 1, device=voxels.device)
    volumes.scatter_reduce_(1, index, values.expand(n, voxels.shape[1], -1).flatten(1), "amax")
    return volumes[:, :size].view(n, depth, resolution, resolution)


def volume_errors(predicted: Tensor, true: Tensor) -> tuple[Tensor, Tensor]:
    """Compare volumes.

    Args:
        predicted: (N, D, H, W).
        true: (N, D, H, W).

    Returns:
        Mean squared error (N,), and soft overlap (N,): the sum of the minima over the sum of the maxima, in 0..1.
    """
    p, t = predicted.flatten(1), true.flatten(1)
    overlap = torch.minimum(p, t).sum(1) / torch.maximum(p, t).sum(1).clamp_min(1e-12)
    return (p - t).square().mean(1), overlap
