"""Head pose and the conventions that the whole project shares.

Image      HxWx3 uint8 RGB; pixel centres at integers, the origin at the top left pixel's centre, x right, y down.
Landmarks  68 points in iBUG order, (..., 68, 3), x and y in image pixels, z in the same pixel scale, larger z nearer to
           the camera, zero mean per face.
Model      x right, y up, z towards the camera.
Camera     scaled orthographic, `V = s R S + t`; image x = V_x, image y = H - V_y, image z = V_z.
Rotation   R = Rx(pitch) Ry(yaw) Rz(roll) with
               Rx = [[1,0,0],[0,c,s],[0,-s,c]]   Ry = [[c,0,-s],[0,1,0],[s,0,c]]   Rz = [[c,s,0],[-s,c,0],[0,0,1]],
           which is scipy's `Rotation.from_euler("XYZ", [-pitch, -yaw, -roll])`. Positive yaw turns the nose to the
           image's left, positive pitch looks up, positive roll lowers the eye on the image's right.
Angles     always in the order pitch, yaw, roll; radians here, degrees wherever a name ends in `_deg`.
Pose       the field's 12-vector, `[s R | t]` row-major: (..., 12), the first three columns of each row s R, the last t.

Every function works over any leading batch shape and is differentiable.
"""

from __future__ import annotations

import torch
from torch import Tensor


def euler_to_matrix(angles: Tensor) -> Tensor:
    """Rotation matrices (..., 3, 3) of (..., 3) angles pitch, yaw, roll in radians."""
    pitch, yaw, roll = angles.unbind(-1)
    cx, cy, cz = pitch.cos(), yaw.cos(), roll.cos()
    sx, sy, sz = pitch.sin(), yaw.sin(), roll.sin()
    rows = (
        (cy * cz, cy * sz, -sy),
        (sx * sy * cz - cx * sz, sx * sy * sz + cx * cz, sx * cy),
        (cx * sy * cz + sx * sz, cx * sy * sz - sx * cz, cx * cy),
    )
    return torch.stack([torch.stack(row, -1) for row in rows], -2)


def matrix_to_euler(rotation: Tensor) -> Tensor:
    """Angles (..., 3) pitch, yaw, roll in radians of rotations (..., 3, 3): the exact inverse of `euler_to_matrix`.

    Unique for |yaw| < 90 degrees; beyond, the equivalent triple with |yaw| <= 90 is returned.
    """
    yaw = torch.asin((-rotation[..., 0, 2]).clamp(-1, 1))
    pitch = torch.atan2(rotation[..., 1, 2], rotation[..., 2, 2])
    roll = torch.atan2(rotation[..., 0, 1], rotation[..., 0, 0])
    return torch.stack([pitch, yaw, roll], -1)


def geodesic_angle(a: Tensor, b: Tensor) -> Tensor:
    """Angle (...) in radians of the rotation between (..., 3, 3) `a` and `b`, accurate near zero and near pi."""
    relative = a.transpose(-1, -2) @ b
    skew = torch.stack(
        [
            relative[..., 2, 1] - relative[..., 1, 2],
            relative[..., 0, 2] - relative[..., 2, 0],
            relative[..., 1, 0] - relative[..., 0, 1],
        ],
        -1,
    )
    trace = relative.diagonal(dim1=-2, dim2=-1).sum(-1)
    return torch.atan2(skew.norm(dim=-1), trace - 1)


def compose_pose(scale: Tensor, rotation: Tensor, translation: Tensor) -> Tensor:
    """The 12-vector (..., 12) of scale (...), rotation (..., 3, 3) and translation (..., 3)."""
    linear = scale[..., None, None] * rotation
    return torch.cat([linear, translation[..., None]], -1).flatten(-2)


def decompose_pose(pose: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Scale (...), rotation (..., 3, 3) and translation (..., 3) of pose vectors (..., 12).

    Exact for a composed pose. For any other 3x4 matrix, such as a network's output, the scale is the mean length of
    the first two rows (as in 3DDFA) and the rotation follows from those rows, both moved by the same angle to be
    orthogonal: what the image shows decides, no row is preferred, and gradients stay finite where an SVD's do not.
    """
    matrix = pose.unflatten(-1, (3, 4))
    rows, translation = matrix[..., :2, :3], matrix[..., 3]
    lengths = rows.norm(dim=-1, keepdim=True)
    first, second = (rows / lengths.clamp_min(1e-12)).unbind(-2)
    half_sum = torch.nn.functional.normalize(first + second, dim=-1)
    half_difference = torch.nn.functional.normalize(first - second, dim=-1)
    first = (half_sum + half_difference) * 0.5**0.5
    second = (half_sum - half_difference) * 0.5**0.5
    rotation = torch.stack([first, second, torch.linalg.cross(first, second)], -2)
    return lengths.mean((-2, -1)), rotation, translation
