"""The conventions that the whole project shares, and functions of head pose.

Image      HxWx3 uint8 RGB. Pixel centres lie at integers, the origin is the centre of the top left pixel, x points
           right, y points down.
Landmarks  68 points in iBUG order, (..., 68, 3). x and y are in image pixels, z is in the same scale, larger z is
           nearer to the camera, and z has zero mean over the 68 points.
Model      x right, y up, z towards the camera.
Camera     scaled orthographic, `V = s R S + t`, with V in pixels and y up. Image x = V_x, image y = H - V_y
           (`flip_y`), image z = V_z, where H is the height of the image.
Rotation   R = Rx(pitch) Ry(yaw) Rz(roll) with
               Rx = [[1,0,0],[0,c,s],[0,-s,c]]   Ry = [[c,0,-s],[0,1,0],[s,0,c]]   Rz = [[c,s,0],[-s,c,0],[0,0,1]],
           which is scipy's `Rotation.from_euler("XYZ", [-pitch, -yaw, -roll])`. Positive yaw turns the nose to the
           image's left, positive pitch looks up, positive roll lowers the eye on the image's right.
Angles     in the order pitch, yaw, roll. In radians in this file. In degrees in `synergy.face.Pose`, in names that end
           in `_deg`, and in everything that the command line prints or writes.
Pose       flattened 3x4 matrix `[s R | t]`, row-major: (..., 12). The first three columns are s R, the last is t.

Every function works over any leading batch shape. Functions of tensors are differentiable.
"""

from __future__ import annotations

from typing import Any, TypeVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

# A numpy array or a torch tensor; a function of A returns what it was given.
A = TypeVar("A", NDArray[np.float32], NDArray[np.float64], NDArray[np.floating], Tensor)


def euler_to_matrix(angles: Tensor) -> Tensor:
    """Return the rotation matrices of Euler angles.

    Args:
        angles: pitch, yaw and roll (..., 3) in radians.

    Returns:
        Rotations (..., 3, 3) from model space to the camera's frame.

    Example:
        >>> nose = euler_to_matrix(torch.tensor([0.0, torch.pi / 2, 0.0])) @ torch.tensor([0.0, 0.0, 1.0])
        >>> nose.round().tolist()  # positive yaw turns the nose to the image's left
        [-1.0, 0.0, -0.0]
    """
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
    """Return the angles of rotation matrices, the exact inverse of `euler_to_matrix`.

    Args:
        rotation: (..., 3, 3).

    Returns:
        Pitch, yaw and roll (..., 3) in radians, with |yaw| <= 90 degrees. A rotation that was made with a larger yaw
        is returned as the equivalent triple of angles.

    Example:
        >>> angles = torch.tensor([0.1, -0.5, 0.2])
        >>> bool(torch.allclose(matrix_to_euler(euler_to_matrix(angles)), angles))
        True
    """
    yaw = torch.asin((-rotation[..., 0, 2]).clamp(-1, 1))
    pitch = torch.atan2(rotation[..., 1, 2], rotation[..., 2, 2])
    roll = torch.atan2(rotation[..., 0, 1], rotation[..., 0, 0])
    return torch.stack([pitch, yaw, roll], -1)


def geodesic_angle(a: Tensor, b: Tensor) -> Tensor:
    """Return the angle between rotations. It is accurate near zero and near pi.

    Args:
        a: rotations (..., 3, 3).
        b: rotations (..., 3, 3).

    Returns:
        Angles (...) in radians, 0..pi.

    Example:
        >>> roll = euler_to_matrix(torch.tensor([0.0, 0.0, 0.5]))
        >>> round(float(geodesic_angle(torch.eye(3), roll)), 6)
        0.5
    """
    relative = a.transpose(-1, -2) @ b
    trace = relative.diagonal(dim1=-2, dim2=-1).sum(-1)
    return torch.atan2(_skew_part(relative).norm(dim=-1), trace - 1)


def rotation_vector(rotation: Tensor) -> Tensor:
    """Return the rotation vectors of rotations: the axis times the angle. It is accurate near zero, not near pi.

    Args:
        rotation: (..., 3, 3).

    Returns:
        (..., 3) in radians, with a length of 0..pi.

    Example:
        >>> roll = euler_to_matrix(torch.tensor([0.0, 0.0, 0.5]))  # positive roll turns clockwise in a y-up frame
        >>> torch.allclose(rotation_vector(roll), torch.tensor([0.0, 0.0, -0.5]))
        True
    """
    skew = _skew_part(rotation)
    sine = skew.norm(dim=-1)
    angle = torch.atan2(sine, rotation.diagonal(dim1=-2, dim2=-1).sum(-1) - 1)
    # The limit of the factor for small angles is 1 / 2.
    factor = torch.where(sine > 1e-6, angle / sine.clamp_min(1e-6), 0.5)
    return skew * factor[..., None]


def _skew_part(rotation: Tensor) -> Tensor:
    """Return the vectors (..., 3) of R - R^T: the axis of the rotation times twice the sine of its angle."""
    difference = rotation - rotation.transpose(-1, -2)
    return torch.stack([difference[..., 2, 1], difference[..., 0, 2], difference[..., 1, 0]], -1)


def flip_y(points: A, height: float = 0.0) -> A:
    """Convert points between the camera's frame (y up) and the image's frame (y down): y becomes `height - y`.

    The function is its own inverse. With a height of 0 it also converts directions and differences of points.

    Args:
        points: (..., 2) or (..., 3) in pixels.
        height: height of the image in pixels.

    Example:
        >>> flip_y(np.array([10.0, 30.0, 5.0]), height=120).tolist()
        [10.0, 90.0, 5.0]
    """
    n = points.shape[-1]
    sign, offset = [1.0, -1.0, 1.0][:n], [0.0, float(height), 0.0][:n]
    if isinstance(points, Tensor):
        return points * points.new_tensor(sign) + points.new_tensor(offset)
    kind: Any = points.dtype if np.issubdtype(points.dtype, np.floating) else np.float64
    return cast(A, points * np.array(sign, kind) + np.array(offset, kind))


def centre_depth(points: A, reference: A | None = None) -> A:
    """Shift z so that its mean over the reference points is zero.

    Args:
        points: (..., N, 3).
        reference: (..., M, 3) points that define the mean, the points themselves by default.

    Example:
        >>> centre_depth(np.array([[1.0, 2.0, 3.0], [1.0, 2.0, 5.0]])).tolist()
        [[1.0, 2.0, -1.0], [1.0, 2.0, 1.0]]
    """
    depth = (points if reference is None else reference)[..., 2].mean(-1)
    if isinstance(points, Tensor):
        return points - depth[..., None, None] * points.new_tensor([0.0, 0.0, 1.0])
    return cast(A, points - np.asarray(depth)[..., None, None] * np.array([0.0, 0.0, 1.0], points.dtype))


def compose_pose(scale: Tensor, rotation: Tensor, translation: Tensor) -> Tensor:
    """Compose the flattened 3x4 pose matrix `[s R | t]`, the inverse of `decompose_pose`.

    Args:
        scale: (...).
        rotation: (..., 3, 3).
        translation: (..., 3) in pixels.

    Returns:
        Pose (..., 12).

    Example:
        >>> compose_pose(torch.tensor(2.0), torch.eye(3), torch.tensor([7.0, 8.0, 9.0])).reshape(3, 4).tolist()
        [[2.0, 0.0, 0.0, 7.0], [0.0, 2.0, 0.0, 8.0], [0.0, 0.0, 2.0, 9.0]]
    """
    linear = scale[..., None, None] * rotation
    return torch.cat([linear, translation[..., None]], -1).flatten(-2)


def decompose_pose(pose: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Split a pose into scale, rotation and translation.

    Args:
        pose: flattened 3x4 matrix `[s R | t]`, row-major, (..., 12). Any 3x4 matrix is accepted; see Note.

    Returns:
        Scale (...), rotation (..., 3, 3) and translation (..., 3) in pixels.

    Note:
        The result is exact for a composed pose. For any other matrix, such as a network's output, the scale is the
        mean length of the first two rows (as in 3DDFA). The rotation is made from those two rows, because only they
        are visible in the image: both are rotated by the same angle until they are orthogonal. Its gradient is finite
        for equal singular values, where the gradient of an SVD is not.

    Example:
        >>> scale, rotation, translation = decompose_pose(torch.eye(3, 4).reshape(12))
        >>> float(scale)
        1.0
    """
    matrix = pose.unflatten(-1, (3, 4))
    rows, translation = matrix[..., :2, :3], matrix[..., 3]
    first, second = _normalize(rows).unbind(-2)
    half_sum, half_difference = _normalize(first + second), _normalize(first - second)
    first = (half_sum + half_difference) * 0.5**0.5
    second = (half_sum - half_difference) * 0.5**0.5
    rotation = torch.stack([first, second, torch.linalg.cross(first, second)], -2)
    return rows.norm(dim=-1).mean(-1), rotation, translation


def _normalize(vectors: Tensor) -> Tensor:
    """Scale vectors (..., 3) to length 1. Zero stays zero."""
    return vectors / vectors.norm(dim=-1, keepdim=True).clamp_min(1e-12)


def transform_pose(pose: Tensor, affine: Tensor, side: int) -> Tensor:
    """Move poses with their image, by an in-plane similarity that may mirror it.

    The rotation stays a rotation: for a mirrored image, the pose is that of the mirrored face model.

    Args:
        pose: (B, 12) in a crop of `side` pixels.
        affine: (B, 2, 3) map from pixels of that crop to pixels of the new one, which has the same side.
        side: side of both crops in pixels.

    Returns:
        Poses (B, 12) in the new crop.

    Example:
        >>> pose = torch.eye(3, 4).reshape(1, 12)
        >>> shifted = transform_pose(pose, torch.tensor([[[1.0, 0.0, 5.0], [0.0, 1.0, 0.0]]]), side=120)
        >>> shifted.reshape(3, 4)[:, 3].tolist()  # 5 pixels to the right
        [5.0, 0.0, 0.0]
    """
    matrix, linear = pose.unflatten(-1, (3, 4)), affine[..., :2]
    determinant = torch.linalg.det(linear)
    # The map in the camera's frame (y up) is `flip_y`, then the affine map, then `flip_y`.
    upward = flip_y(flip_y(linear.mT).mT)
    origin = flip_y(affine[..., 2] + side * linear[..., 1], side)
    upper = upward @ matrix[:, :2]
    upper = torch.cat([upper[..., :3], upper[..., 3:] + origin[..., None]], -1)
    lower = matrix[:, 2:] * determinant.abs().sqrt()[:, None, None]
    moved = torch.cat([upper, lower], 1)
    # The mirrored model has x of the opposite sign.
    sign = torch.where(determinant < 0, -1.0, 1.0).to(moved)
    return torch.cat([moved[..., :1] * sign[:, None, None], moved[..., 1:]], -1).flatten(-2)
