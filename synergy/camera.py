"""Scaled orthographic projection of model vertices to image pixels, by pytorch3d's cameras or in plain torch.

Both forms take the field's 12-vector `[s R | t]` (see `synergy.geometry`) and agree to 1e-4 px, which a test holds
whenever pytorch3d is installed. The plain form is an order of magnitude cheaper, traces to ONNX, and is what the
predictor uses; training and evaluation call `project`, which takes pytorch3d whenever it is there.
"""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from synergy.geometry import decompose_pose


@cache
def has_pytorch3d() -> bool:
    """Whether pytorch3d can be imported (it is not imported here)."""
    return find_spec("pytorch3d") is not None


def project(vertices: Tensor, pose: Tensor, height: float) -> Tensor:
    """Project with pytorch3d when it is installed, in plain torch otherwise. See `project_plain`."""
    if has_pytorch3d() and vertices.dim() == 3 and pose.dim() == 2:
        return project_pytorch3d(vertices, pose, height)
    return project_plain(vertices, pose, height)


def project_plain(vertices: Tensor, pose: Tensor, height: float) -> Tensor:
    """Image points (..., V, 3) of model vertices (..., V, 3) under poses (..., 12) in an image of `height` pixels.

    x right, y down, both in pixels with centres at integers; z in pixel scale, larger is nearer, not centred.
    The 3x3 part is used as it is: an unconstrained network output projects affinely, as in 3DDFA and SynergyNet.
    """
    matrix = pose.unflatten(-1, (3, 4))
    placed = vertices @ matrix[..., :3].transpose(-1, -2) + matrix[..., 3].unsqueeze(-2)
    x, y, z = placed.unbind(-1)
    return torch.stack([x, height - y, z], -1)


def orthographic_cameras(pose: Tensor, height: float, width: float) -> Any:
    """pytorch3d `OrthographicCameras` of poses (B, 12) for images of height x width pixels.

    pytorch3d's axes are x left, y up, z away from the viewer, and its pixel centres lie at +0.5: hence the two sign
    changes of R's columns and the half pixel in the principal point.
    """
    from pytorch3d.renderer import OrthographicCameras  # type: ignore[import-not-found, unused-ignore]

    scale, rotation, translation = decompose_pose(pose)
    flip = pose.new_tensor([-1.0, 1.0, -1.0])
    principal_point = torch.stack([translation[..., 0] + 0.5, height - translation[..., 1] + 0.5], -1)
    return OrthographicCameras(
        focal_length=scale,
        principal_point=principal_point,
        R=rotation.transpose(-1, -2) * flip,
        T=pose.new_tensor([0.0, 0.0, 10.0]).expand(len(pose), 3),
        in_ndc=False,
        image_size=pose.new_tensor([[height, width]]).expand(len(pose), 2),
        device=pose.device,
    )


def project_pytorch3d(vertices: Tensor, pose: Tensor, height: float) -> Tensor:
    """`project_plain` through pytorch3d's cameras: vertices (B, V, 3), poses (B, 12) of rotation times scale."""
    cameras = orthographic_cameras(pose, height, height)
    pixels = cameras.transform_points_screen(vertices)[..., :2] - 0.5
    scale, rotation, translation = decompose_pose(pose)
    depth = vertices @ rotation[..., 2, :, None] * scale[:, None, None] + translation[:, None, 2:]
    return torch.cat([pixels, depth], -1)
