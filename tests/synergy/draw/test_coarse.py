import dataclasses

import numpy as np
import pytest

from bfm_assets import open_face
from synergy.draw.coarse import wire_triangles


def mean_edge(model, triangles):
    corners = model.mean[triangles]
    return np.linalg.norm(corners - np.roll(corners, 1, 1), axis=-1).mean()


@pytest.mark.parametrize("edge", [1.0, 5.0, 8.0, 12.0, 30.0])
def test_edges_have_about_the_wanted_length(edge):
    model = open_face()
    triangles = wire_triangles(model, edge)
    if edge < 4:
        assert triangles is model.face_triangles
    elif edge < 20:
        assert 0.9 * edge < mean_edge(model, triangles) < 1.7 * edge
    else:
        assert 68 < len(np.unique(triangles)) < 200


def test_a_coarse_mesh_is_a_surface_of_the_models_vertices():
    model = open_face()
    triangles = wire_triangles(model, 12.0)
    assert np.isin(triangles, np.unique(model.face_triangles)).all()
    _, count = np.unique(np.sort(triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), 1), axis=0, return_counts=True)
    assert (count <= 2).mean() > 0.98
    # The triangles keep the orientation of the fine ones: outward. All of the fine face looks forward on average.
    a, b, c = (model.mean[triangles[:, i]] for i in range(3))
    normal = np.cross(b - a, c - a)
    assert (normal[:, 2] > 0).mean() > 0.85
    # The landmarks of lips, eyes, brows, nose and jaw are among the vertices.
    assert np.isin(model.landmarks, triangles).mean() > 0.9


def test_a_model_with_few_vertices_stays_as_it_is():
    model = open_face()
    few = dataclasses.replace(model, face_mask=None, triangles=model.triangles[:40])
    assert len(wire_triangles(few, 1e6)) <= 40
