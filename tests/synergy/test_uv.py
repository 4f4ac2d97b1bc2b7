import dataclasses

import numpy as np
import pytest

from bfm_assets import open_face
from synergy.raster import rasterize
from synergy.uv import project_from_centre, texture_coordinates


def signed_areas(uv, triangles):
    a, b, c = (uv[triangles[:, i]].astype(np.float64) for i in range(3))
    return (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (b[:, 1] - a[:, 1]) * (c[:, 0] - a[:, 0])


@pytest.fixture(params=["open face", "computed"])
def model(request):
    face = open_face()
    return face if request.param == "open face" else dataclasses.replace(face, uv=None)


def test_coordinates_lie_in_the_square_and_are_upright_and_symmetric(model):
    uv = texture_coordinates(model)
    assert uv.shape == (model.n_vertices, 2)
    assert uv.min() >= 0
    assert uv.max() <= 1
    landmarks = uv[model.landmarks]
    assert landmarks[8, 1] < landmarks[57, 1] < landmarks[30, 1] < landmarks[27, 1]  # chin, lip, nose
    # The subject's left eye has larger x, and larger u.
    assert landmarks[45, 0] > landmarks[36, 0]
    np.testing.assert_allclose(landmarks[36, 0] + landmarks[45, 0], 2 * landmarks[30, 0], atol=0.01)


def test_few_triangles_of_the_face_lie_upside_down(model):
    areas = signed_areas(texture_coordinates(model), model.face_triangles)
    # The projection folds where the surface turns away from the centre: at ears, nostrils, lids and lips.
    assert (areas > 0).mean() > (0.9 if model.uv is None else 0.9995)


def test_triangles_of_the_open_face_do_not_overlap():
    model = open_face()
    uv = texture_coordinates(model)
    points = np.concatenate([uv * 2000, np.zeros((len(uv), 1))], 1).astype(np.float32)
    covered = rasterize(points, model.triangles, 2000, 2000).mask.sum()
    assert np.abs(signed_areas(uv * 2000, model.triangles)).sum() / 2 == pytest.approx(covered, rel=0.01)


def test_the_projection_keeps_the_angle_from_the_axis():
    angles = np.radians([0, 30, 90, 150])
    points = np.stack([np.sin(angles), 0 * angles, np.cos(angles)], 1)
    both = np.concatenate([points, -points * [1, 0, -1], [[0, 1, 0], [0, -1, 0], [0, 0, -1]]])
    uv = project_from_centre(both + [1, 2, 3], np.array([1, 2, 3]))
    np.testing.assert_allclose(uv[:4, 0], 0.5 + 0.5 * angles / np.pi, atol=1e-6)
    np.testing.assert_allclose(uv[8], [0.5, 0.75], atol=1e-6)
