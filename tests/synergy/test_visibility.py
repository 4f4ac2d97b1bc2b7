import numpy as np
import pytest
import trimesh

from synergy.visibility import visible_points


@pytest.mark.parametrize("scale", [20.0, 300.0, 5000.0])
def test_the_front_of_a_sphere_is_visible(scale):
    sphere = trimesh.creation.icosphere(subdivisions=4)
    # Model space (y up) to image space (y down).
    vertices = sphere.vertices * [scale, -scale, scale] + [700, -300, 0]
    visible = visible_points(vertices, vertices, sphere.faces)
    depth = sphere.vertices[:, 2]
    assert visible[depth > 0.2].all()
    assert not visible[depth < -0.1].any()


def test_a_small_disc_in_front_hides_what_is_behind_it():
    sphere = trimesh.creation.icosphere(subdivisions=3)
    disc = np.array([[-0.2, -0.2, 2.0], [0.2, -0.2, 2.0], [0.0, 0.3, 2.0]])
    vertices = np.concatenate([sphere.vertices, disc]) * [100, -100, 100]
    triangles = np.concatenate([sphere.faces, [[642, 643, 644]]])
    points = np.array([[0.0, 0, 1], [0, 0, 2], [0.5, 0, 0.86], [5, 5, 0]]) * [100, -100, 100]
    assert visible_points(points, vertices, triangles).tolist() == [False, True, True, True]


def test_a_mesh_that_looks_away_hides_nothing():
    vertices = np.array([[0.0, 0, 5], [9, 0, 5], [9, 9, 5]])
    assert visible_points(np.array([[4.0, 2, 0]]), vertices, np.array([[0, 1, 2]])).all()
