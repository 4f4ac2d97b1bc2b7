import numpy as np
import pytest

from synergy.demo import random_face
from synergy.draw import draw_picture
from synergy.draw.maps import depth_colours, position_colours
from synergy.raster import facing, rasterize

BLACK = np.zeros((256, 256, 3), np.uint8)
POSES = [(0, 0, 0), (20, 0, 0), (0, 60, 0), (-10, -85, 0)]


def surface(face):
    """Covered pixels (256, 256), and the exact image points (P, 3) and mean-face points (P, 3) of them."""
    vertices, triangles = face.vertices(), face.morphable_model.face_triangles
    front = triangles[facing(vertices, triangles)]
    fragments = rasterize(vertices, front, 256, 256)
    points, mean = (fragments.interpolate_covered(v, front) for v in (vertices, face.morphable_model.mean))
    return fragments.mask, points, mean


@pytest.mark.parametrize("angles", POSES)
def test_pncc_tells_the_place_on_the_mean_face(angles):
    face = random_face(angles, seed=2)
    model = face.morphable_model
    mask, _, expected = surface(face)
    picture = draw_picture(BLACK, [face], "pncc")
    np.testing.assert_array_equal(picture.any(-1), mask)
    region = model.mean[np.unique(model.face_triangles)]
    decoded = picture[mask] / 255 * np.ptp(region, axis=0) + region.min(0)
    np.testing.assert_allclose(decoded, expected, atol=0.51 * np.ptp(region, axis=0).max() / 255)


def test_the_code_of_the_mean_face_spans_all_values():
    model = random_face((0, 0, 0), seed=0).morphable_model
    code = position_colours(model)[np.unique(model.face_triangles)]
    np.testing.assert_allclose([code.min(0), code.max(0)], [[0] * 3, [255] * 3])


@pytest.mark.parametrize("angles", POSES)
def test_depth_is_linear_and_does_not_depend_on_the_pose(angles):
    face = random_face(angles, seed=2)
    mask, points, _ = surface(face)
    picture = draw_picture(BLACK, [face], "depth")
    assert (picture[..., 0] == picture[..., 1]).all()
    region = face.morphable_model.mean[np.unique(face.morphable_model.face_triangles)]
    width = np.ptp(region[:, 0]) * face.pose.scale
    expected = 128 + 127 * points[:, 2] / (0.625 * width)
    np.testing.assert_allclose(picture[mask][:, 0], expected.clip(1, 255), atol=1.01)
    # Little is cut off at the ends of the range.
    assert ((expected < 1) | (expected > 255)).mean() < 0.02


def test_depth_values_are_above_the_background():
    face = random_face((80, 0, 0), seed=0)
    assert depth_colours(face, face.vertices()).min() >= 1


@pytest.mark.parametrize("angles", POSES)
def test_normals_point_right_up_and_to_the_camera(angles):
    face = random_face(angles, seed=2)
    mask, points, _ = surface(face)
    picture = draw_picture(BLACK, [face], "normals")[mask] / 127.5 - 1
    length = np.linalg.norm(picture, axis=1)
    assert np.percentile(length, 5) > 0.9
    assert length.max() < 1.02
    # The normals of the depth map, where its slope is small enough for differences of pixels.
    depth = np.full(mask.shape, np.nan)
    depth[mask] = points[:, 2]
    down, right = (slope[mask] for slope in np.gradient(depth))
    flat = np.hypot(down, right) < 1
    expected = np.stack([-right, down, np.ones_like(right)], 1)[flat]
    cosine = (picture[flat] * expected).sum(1) / length[flat] / np.linalg.norm(expected, axis=1)
    assert np.median(np.degrees(np.arccos(cosine.clip(-1, 1)))) < 8


def test_the_side_of_the_nose_at_the_images_left_faces_left():
    face = random_face((0, 0, 0), seed=0)
    picture = draw_picture(BLACK, [face], "normals").astype(int)
    (left_x, y), (right_x, _) = np.rint(face.landmarks68[[31, 35], :2]).astype(int)
    assert picture[y - 8, left_x, 0] < 110
    assert picture[y - 8, right_x, 0] > 145
    chin_x, chin_y = np.rint(face.landmarks68[8, :2]).astype(int)
    assert picture[chin_y + 3, chin_x, 1] < 100
