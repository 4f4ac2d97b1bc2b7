import pytest
import torch

from synergy.camera import has_pytorch3d, project, project_plain, project_pytorch3d
from synergy.geometry import compose_pose, euler_to_matrix

needs_pytorch3d = pytest.mark.skipif(
    not has_pytorch3d(), reason="pytorch3d is not installed (extra synergy[pytorch3d])"
)


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


def test_project_is_the_plain_form_whatever_draws_it():
    vertices, pose = random_scene()
    torch.testing.assert_close(project(vertices, pose, 120), project_plain(vertices, pose, 120), atol=1e-4, rtol=0)


@needs_pytorch3d
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
