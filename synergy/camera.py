"""Scaled orthographic projection of model vertices to image pixels, by pytorch3d's cameras or in plain torch.

Both forms take a pose `[s R | t]` (see `synergy.geometry`) and agree to 1e-4 px; a test checks this wherever pytorch3d
is installed. Training and evaluation use `preferred_projection()`. The predictor and exported networks use the plain
form, which is about ten times faster.
"""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from typing import Any, Literal

import torch
from torch import Tensor

from synergy.geometry import decompose_pose, flip_y

Projection = Literal["plain", "pytorch3d"]


@cache
def has_pytorch3d() -> bool:
    """Return whether pytorch3d can be imported. This does not import it."""
    return find_spec("pytorch3d") is not None


def preferred_projection() -> Projection:
    """Return the projection for training and evaluation: pytorch3d's cameras where they are installed."""
    return "pytorch3d" if has_pytorch3d() else "plain"


def project(vertices: Tensor, pose: Tensor, height: float, projection: Projection = "plain") -> Tensor:
    """Project vertices into an image.

    Args:
        vertices: (..., V, 3) in model space.
        pose: (..., 12). pytorch3d's cameras need a rotation times a scale; the plain form takes any 3x4 matrix.
        height: height of the image in pixels.
        projection: "plain" computes in torch, "pytorch3d" through its `OrthographicCameras`.

    Returns:
        (..., V, 3) with x right and y down in pixels, centres at integers; z in the same scale, larger is nearer.

    Example:
        >>> pose = torch.tensor([[2.0, 0, 0, 60], [0, 2, 0, 50], [0, 0, 2, 0]]).reshape(12)
        >>> project(torch.tensor([[10.0, 5.0, 1.0]]), pose, height=120).tolist()
        [[80.0, 60.0, 2.0]]
    """
    return (project_pytorch3d if projection == "pytorch3d" else project_plain)(vertices, pose, height)


def project_plain(vertices: Tensor, pose: Tensor, height: float) -> Tensor:
    """Project in plain torch. See `project`. The 3x3 part of the pose is used as it is, as in 3DDFA and SynergyNet."""
    matrix = pose.unflatten(-1, (3, 4))
    return flip_y(vertices @ matrix[..., :3].transpose(-1, -2) + matrix[..., 3].unsqueeze(-2), height)


def _orthographic_cameras(pose: Tensor, height: float) -> Any:
    """Return pytorch3d `OrthographicCameras` of poses.

    pytorch3d's axes are x left, y up, z away from the viewer. Therefore two columns of R change their sign. Its pixel
    centres lie at +0.5. Therefore the principal point moves by half a pixel.

    Args:
        pose: (B, 12), a rotation times a scale.
        height: height of the images in pixels. Points are projected to the same pixels whatever the width is.
    """
    from pytorch3d.renderer import OrthographicCameras  # type: ignore[import-not-found, unused-ignore]

    scale, rotation, translation = decompose_pose(pose)
    flip = pose.new_tensor([-1.0, 1.0, -1.0])
    principal_point = flip_y(translation[..., :2], height) + 0.5
    return OrthographicCameras(
        focal_length=scale,
        principal_point=principal_point,
        R=rotation.transpose(-1, -2) * flip,
        T=pose.new_tensor([0.0, 0.0, 10.0]).expand(len(pose), 3),
        in_ndc=False,
        image_size=pose.new_tensor([[height, height]]).expand(len(pose), 2),
        device=pose.device,
    )


def project_pytorch3d(vertices: Tensor, pose: Tensor, height: float) -> Tensor:
    """Project through pytorch3d's cameras. See `project`. The pose must be a rotation times a scale."""
    batch, n_vertices = vertices.shape[:-2], vertices.shape[-2]
    vertices, pose = vertices.reshape(-1, n_vertices, 3), pose.reshape(-1, pose.shape[-1])
    cameras = _orthographic_cameras(pose, height)
    pixels = cameras.transform_points_screen(vertices)[..., :2] - 0.5
    scale, rotation, translation = decompose_pose(pose)
    depth = vertices @ rotation[..., 2, :, None] * scale[:, None, None] + translation[:, None, 2:]
    return torch.cat([pixels, depth], -1).reshape(*batch, n_vertices, 3)
