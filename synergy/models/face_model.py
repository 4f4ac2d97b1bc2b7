"""A morphable model as a differentiable torch module."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bfm_assets import MorphableModel
from synergy.camera import Projection, project
from synergy.geometry import centre_depth
from synergy.parameters import split_pose


class LinearFaceModel(nn.Module):
    """Faces of a 3D morphable model as functions of their parameters (`synergy.parameters`).

    It is differentiable with respect to the parameters, and works over any leading batch shape (...). Parameters have
    the device and type of the module, which `.to(device, dtype)` changes. It has no trainable parameters. Its buffers
    are not saved in checkpoints.

    Args:
        model: the morphable model.
        landmarks_only: keep only the 68 landmark vertices, which is faster and smaller. `vertices` then returns them
            and there is no mesh.

    Attributes:
        landmarks_only: whether the 68 landmarks are the only vertices.
        mean: (V, 3) vertices of the mean face in model space.
        basis: (V, 3, S + E) shape basis followed by expression basis.
        landmark_indices: (68,) vertex indices of the landmarks.

    Example:
        Fit shape, expression and pose to 68 landmarks with LBFGS:

        >>> import torch
        >>> from bfm_assets import open_face
        >>> from synergy.parameters import count_parameters, split_pose
        >>> model = open_face()
        >>> face, size = LinearFaceModel(model, landmarks_only=True), 120.0
        >>> pose = torch.tensor([0.45, 0, 0, 60, 0, 0.45, 0, 60, 0, 0, 0.45, 0])
        >>> start = torch.cat([pose, torch.zeros(count_parameters(model) - len(pose))])
        >>> target = face.project(start + torch.linspace(-0.01, 0.01, len(start)), size)
        >>> params, std = start.clone().requires_grad_(), torch.from_numpy(model.coefficient_std)
        >>> optimiser = torch.optim.LBFGS([params], max_iter=200, line_search_fn="strong_wolfe")
        >>> def loss():
        ...     optimiser.zero_grad()
        ...     distance = (face.project(params, size) - target).square().sum()
        ...     total = distance + 1e-4 * (split_pose(params)[1] / std).square().sum()
        ...     total.backward()
        ...     return total
        >>> final = optimiser.step(loss)
        >>> error = (face.project(params, size) - target).norm(dim=-1).mean()
        >>> bool(error < 0.1)
        True
    """

    mean: Tensor
    basis: Tensor
    landmark_indices: Tensor

    def __init__(self, model: MorphableModel, landmarks_only: bool = False) -> None:
        super().__init__()
        self.landmarks_only = landmarks_only
        source = model.landmark_model() if landmarks_only else model
        # These tensors share the memory of the numpy arrays, so that a dense model is not copied.
        self.register_buffer("mean", torch.from_numpy(source.mean), persistent=False)
        self.register_buffer("basis", torch.from_numpy(source.basis), persistent=False)
        self.register_buffer("landmark_indices", torch.from_numpy(source.landmarks).long(), persistent=False)

    def vertices(self, params: Tensor) -> Tensor:
        """Return the vertices in model space, before the pose.

        Args:
            params: (..., 12 + S + E). The pose is not used.

        Returns:
            (..., V, 3) in the units of the morphable model, x right, y up, z towards the camera.
        """
        return self._combine(self.mean, self.basis, params)

    def landmarks(self, params: Tensor) -> Tensor:
        """Return the 68 landmark vertices (..., 68, 3) in model space, as `vertices` does for all vertices."""
        if self.landmarks_only:
            return self.vertices(params)
        return self._combine(self.mean[self.landmark_indices], self.basis[self.landmark_indices], params)

    def project(self, params: Tensor, size: float, projection: Projection = "plain") -> Tensor:
        """Return the 68 landmarks in the image.

        Args:
            params: (..., 12 + S + E). The 3x3 part of the pose is used as it is (compare `make_pose_rigid`).
            size: height of the image in pixels.
            projection: see `synergy.camera.project`.

        Returns:
            (..., 68, 3) in image pixels, x right, y down; z in the same scale, larger is nearer, with zero mean.
        """
        return centre_depth(project(self.landmarks(params), split_pose(params)[0], size, projection))

    def project_mesh(self, params: Tensor, size: float) -> Tensor:
        """Return all vertices in the image.

        Args:
            params: (..., 12 + S + E).
            size: height of the image in pixels.

        Returns:
            (..., V, 3) in the frame of `project`. z has zero mean over the 68 landmark vertices.
        """
        points = project(self.vertices(params), split_pose(params)[0], size)
        return centre_depth(points, points[..., self.landmark_indices, :])

    def _combine(self, mean: Tensor, basis: Tensor, params: Tensor) -> Tensor:
        coefficients = split_pose(params)[1]
        return mean + (coefficients @ basis.flatten(0, 1).mT).unflatten(-1, mean.shape)
