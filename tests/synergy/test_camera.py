import sys
import types

import pytest
import torch

from synergy import camera
from synergy.camera import preferred_projection, project, project_plain, project_pytorch3d
from synergy.geometry import compose_pose, euler_to_matrix


def random_scene(batch: int = 16) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    angles = torch.rand(batch, 3, generator=generator) * 3 - 1.5
    scale = torch.rand(batch, generator=generator) + 0.2
    translation = torch.rand(batch, 3, generator=generator) * 100
    vertices = torch.randn(batch, 68, 3, generator=generator) * 40
    return vertices, compose_pose(scale, euler_to_matrix(angles), translation)


def test_a_hand_worked_point():
    # Twice as large, moved by (10, 20, 5); in an image of height 100, y = 100 - (2 * 3 + 20).
    pose = compose_pose(torch.tensor(2.0), torch.eye(3), torch.tensor([10.0, 20.0, 5.0]))
    point = project_plain(torch.tensor([[1.0, 3.0, 7.0]]), pose, height=100)
    torch.testing.assert_close(point, torch.tensor([[12.0, 74.0, 19.0]]))


def test_any_leading_shape():
    vertices, pose = random_scene(6)
    flat = project_plain(vertices, pose, 120)
    grid = project_plain(vertices.view(2, 3, 68, 3), pose.view(2, 3, 12), 120)
    torch.testing.assert_close(grid.view(6, 68, 3), flat)


def test_gradients():
    vertices, pose = random_scene(2)
    vertices, pose = vertices[:, :4].double().requires_grad_(), pose.double().requires_grad_()
    assert torch.autograd.gradcheck(lambda v, p: project_plain(v, p, 120.0), (vertices, pose))


@pytest.mark.parametrize(("installed", "preferred"), [(True, "pytorch3d"), (False, "plain")])
def test_training_and_evaluation_prefer_pytorch3d(monkeypatch, installed, preferred):
    monkeypatch.setattr(camera, "has_pytorch3d", lambda: installed)
    assert preferred_projection() == preferred


@pytest.mark.parametrize("projection", ["plain", "pytorch3d"])
def test_project_uses_the_projection_that_it_is_asked_for(monkeypatch, projection):
    calls = []
    for name in ("plain", "pytorch3d"):
        monkeypatch.setattr(camera, f"project_{name}", lambda *args, name=name: calls.append(name))
    project(*random_scene(2), 120, projection)
    assert calls == [projection]


class FakeCameras:
    """Stands for pytorch3d's `OrthographicCameras`, with the convention of its documentation.

    x points left and y up, the screen's origin is the corner of the top left pixel, and
    screen = principal point - focal length * (X R + T).
    """

    def __init__(self, focal_length, principal_point, R, T, in_ndc, image_size, device):
        assert not in_ndc
        self.focal, self.centre, self.rotation, self.shift = focal_length, principal_point, R, T

    def transform_points_screen(self, points):
        view = points @ self.rotation + self.shift[:, None]
        screen = self.centre[:, None] - self.focal[:, None, None] * view[..., :2]
        return torch.cat([screen, view[..., 2:]], -1)


@pytest.mark.parametrize("shape", [(), (6,), (2, 3)])
def test_the_cameras_get_what_gives_the_same_pixels(monkeypatch, shape):
    """Without pytorch3d: a stand-in with its documented convention draws the pixels of the plain form."""
    renderer = types.ModuleType("pytorch3d.renderer")
    renderer.OrthographicCameras = FakeCameras
    monkeypatch.setitem(sys.modules, "pytorch3d", types.ModuleType("pytorch3d"))
    monkeypatch.setitem(sys.modules, "pytorch3d.renderer", renderer)
    vertices, pose = random_scene(6)
    n = int(torch.tensor(shape).prod()) if shape else 1
    vertices, pose = vertices[:n].reshape(*shape, 68, 3), pose[:n].reshape(*shape, 12)
    points = project(vertices, pose, 120, "pytorch3d")
    torch.testing.assert_close(points, project_plain(vertices, pose, 120), atol=1e-3, rtol=0)


@pytest.mark.pytorch3d
def test_pytorch3d_projects_the_same_pixels_and_gradients():
    vertices, pose = random_scene()
    grads = []
    for function in (project_pytorch3d, project_plain):
        leaf = vertices.clone().requires_grad_()
        function(leaf, pose, 120).square().sum().backward()
        grads.append(leaf.grad)
    torch.testing.assert_close(
        project_pytorch3d(vertices, pose, 120), project_plain(vertices, pose, 120), atol=1e-4, rtol=0
    )
    torch.testing.assert_close(*grads, atol=1e-1, rtol=1e-5)
