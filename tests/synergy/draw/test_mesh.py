import cv2
import numpy as np
import pytest

from synergy.draw import draw_mesh, draw_wireframe
from synergy.raster import facing, rasterize
from tests.synergy.draw.pictures import PLACES, changed


def test_mesh_covers_exactly_what_the_rasteriser_says(face, grey):
    vertices, triangles = face.vertices(), face.morphable_model.triangles
    painted = changed(draw_mesh(grey, vertices, triangles, np.full((len(vertices), 3), 255, np.uint8)), grey)
    covered = rasterize(vertices, triangles, 256, 256).mask
    # Where only back faces show (the open rims), nothing is painted.
    assert not (painted & ~covered).any()
    assert painted.sum() > 0.9 * covered.sum()


def test_opacity_blends(face, grey):
    vertices, triangles = face.vertices(), face.morphable_model.triangles
    full, half, none = (draw_mesh(grey, vertices, triangles, alpha=a).astype(int) for a in (1.0, 0.5, 0.0))
    np.testing.assert_array_equal(none, grey)
    np.testing.assert_allclose(half, (full + grey) / 2, atol=1)


def test_wireframe_draws_inside_the_mesh_only(face, grey):
    vertices, triangles = face.vertices(), face.morphable_model.triangles
    drawn = changed(draw_wireframe(grey, vertices, triangles), grey)
    low, high = vertices[:, :2].min(0) - 2, vertices[:, :2].max(0) + 2
    y, x = np.nonzero(drawn)
    assert (np.stack([x, y], 1) >= low).all()
    assert (np.stack([x, y], 1) <= high).all()


@pytest.mark.parametrize(("height", "centre"), PLACES)
def test_a_wireframe_is_the_blend_over_the_whole_image(face, placed, height, centre):
    image = np.random.default_rng(0).integers(0, 256, (260, 300, 3), dtype=np.uint8)
    one = placed(face, height, centre)
    vertices, triangles = one.vertices(), one.morphable_model.face_triangles
    corners = np.rint(vertices[triangles[facing(vertices, triangles)], :2] * 16).astype(np.int32)
    lines = cv2.polylines(image.copy(), list(corners), True, (120, 200, 255), 1, cv2.LINE_AA, 4)
    expected = image * 0.6 + lines * 0.4
    np.testing.assert_allclose(draw_wireframe(image, vertices, triangles).astype(float), expected, atol=1)
