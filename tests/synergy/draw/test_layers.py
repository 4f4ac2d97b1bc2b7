"""Golden tests by properties: which pixels each style changes, and to what."""

import dataclasses
import tracemalloc

import numpy as np
import pytest
from PIL import Image

from synergy.demo import random_face
from synergy.draw import draw_layer, draw_mesh, draw_picture, mesh_overlay, overlay
from synergy.raster import facing, rasterize, vertex_normals
from synergy.result_formats import PICTURE_FORMATS
from tests.synergy.draw.pictures import PLACES, changed


def plain_blend(image, vertices, triangles, alpha):
    """A shaded grey mesh over the image, computed in float64 for every pixel of the image."""
    front = triangles[facing(vertices, triangles)]
    fragments = rasterize(vertices, front, *image.shape[:2])
    light = np.array([0.25, -0.35, 0.9]) / np.linalg.norm([0.25, -0.35, 0.9])
    lit = 200 * (0.3 + 0.7 * np.clip(vertex_normals(vertices, triangles) @ light, 0, 1))
    colour = (lit[front[fragments.face_index]] * fragments.barycentric).sum(-1)[..., None]
    return np.where(fragments.mask[..., None], image * (1 - alpha) + colour * alpha, image)


@pytest.mark.parametrize("band", [1 << 18, 5000])
@pytest.mark.parametrize(("height", "centre"), PLACES)
def test_a_mesh_is_the_blend_over_the_whole_image(face, placed, monkeypatch, height, centre, band):
    monkeypatch.setattr("synergy.draw.mesh._BAND_PIXELS", band)
    image = np.random.default_rng(0).integers(0, 256, (260, 300, 3), dtype=np.uint8)
    one = placed(face, height, centre)
    expected = plain_blend(image, one.vertices(), one.morphable_model.face_triangles, 0.5)
    drawn = mesh_overlay(image, [one])
    np.testing.assert_allclose(drawn.astype(float), expected, atol=1)
    np.testing.assert_array_equal(
        drawn, draw_mesh(image, one.vertices(), one.morphable_model.face_triangles, alpha=0.5)
    )


@pytest.mark.parametrize("paint", [overlay, mesh_overlay])
def test_pictures_are_those_of_the_input_away_from_the_faces(face, placed, paint):
    image = np.random.default_rng(0).integers(0, 256, (400, 600, 3), dtype=np.uint8)
    faces = [placed(face, 80, centre) for centre in ((120, 150), (430, 260))]
    near = np.zeros((400, 600), bool)
    for one in faces:
        points = np.concatenate([one.vertices()[:, :2], one.landmarks68[:, :2]])
        # The axes of the pose start at the nose and are half as long as the landmarks' extent.
        reach = np.ptp(one.landmarks68[:, :2], axis=0).max() * 0.5 + 3
        points = np.concatenate([points, one.landmarks68[30, :2] + reach * np.array([[-1, -1], [1, 1]])])
        (x0, y0), (x1, y1) = np.floor(points.min(0)).astype(int), np.ceil(points.max(0)).astype(int) + 1
        near[max(0, y0) : y1, max(0, x0) : x1] = True
    painted = changed(paint(image, faces), image)
    assert near.mean() < 0.5
    assert painted.any()
    assert not painted[~near].any()


@pytest.mark.parametrize("paint", [overlay, mesh_overlay])
def test_a_large_photo_needs_little_memory(face, placed, paint):
    """50 megapixels: the result, and less than 100 MB to work with."""
    image = np.zeros((5000, 10000, 3), np.uint8)
    faces = [placed(face, 900, (2000 * i + 1500, 2000)) for i in range(3)]
    tracemalloc.start()
    try:
        paint(image, faces)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < image.nbytes + 100e6


def test_face_region_at_half_opacity_is_the_default(face, grey):
    triangles = face.morphable_model.face_triangles
    assert len(triangles) < len(face.morphable_model.triangles)
    expected = draw_mesh(grey, face.vertices(), triangles, alpha=0.5)
    np.testing.assert_array_equal(mesh_overlay(grey, [face]), expected)


def test_the_id_of_a_tracked_face_is_drawn_above_it(face, grey):
    plain, first, second = (overlay(grey, [dataclasses.replace(face, track_id=number)]) for number in (None, 1, 2))
    assert not np.array_equal(first, second)
    changed = np.argwhere((plain != first).any(-1))
    assert changed[:, 0].max() <= face.landmarks68[:, 1].min() + 2
    # A face at the upper edge of the image does not break it.
    higher = dataclasses.replace(face, track_id=1, landmarks68=face.landmarks68 - [0, 300, 0])
    assert overlay(grey, [higher]).shape == grey.shape


@pytest.mark.parametrize("name", PICTURE_FORMATS)
def test_every_layer_draws_on_a_copy_and_near_the_face(name, face, grey):
    picture = draw_layer(grey, [face], name)
    assert picture.dtype == np.uint8
    assert picture.shape == grey.shape
    assert 100 < changed(picture, grey).sum() < 0.9 * grey[..., 0].size
    assert (grey == 90).all()
    without = draw_layer(grey, [], name)
    np.testing.assert_array_equal(without, grey)
    assert not np.shares_memory(without, grey)


@pytest.mark.parametrize("name", PICTURE_FORMATS)
def test_only_maps_are_drawn_over_black(name, face, grey):
    picture = draw_picture(grey, [face], name)
    assert tuple(picture[0, 0]) == ((0, 0, 0) if name in ("depth", "normals", "pncc") else (90, 90, 90))
    on_black = draw_layer(np.zeros_like(grey), [face], name)
    np.testing.assert_array_equal(np.array_equal(picture, on_black), name in ("depth", "normals", "pncc"))


def test_layers_can_be_stacked(face, grey):
    both = draw_layer(draw_layer(grey, [face], "head"), [face], "points")
    head = changed(draw_layer(grey, [face], "head"), grey)
    assert changed(both, grey)[head].mean() > 0.99
    x, y = np.rint(face.landmarks68[8, :2]).astype(int)
    assert both[y - 1 : y + 2, x - 1 : x + 2].min(-1).max() > 150


def test_an_unknown_layer_is_a_clear_error(face, grey):
    with pytest.raises(ValueError, match=r"no layer 'obj'; choose from overlay, points, .*pncc$"):
        draw_layer(grey, [face], "obj")


def test_a_layer_of_a_mesh_says_that_there_is_none(face, grey):
    sparse = dataclasses.replace(face, morphable_model=face.morphable_model.landmark_model())
    with pytest.raises(ValueError, match="landmark vertices only"):
        draw_layer(grey, [sparse], "depth")
    assert changed(draw_layer(grey, [sparse], "pose"), grey).any()


def test_the_larger_face_covers_the_smaller_one(face, placed, grey):
    large, small = placed(face, 150, (128, 128)), placed(face, 40, (128, 128))
    expected = draw_layer(grey, [large], "pncc")
    for faces in ([large, small], [small, large]):
        np.testing.assert_array_equal(draw_layer(grey, faces, "pncc")[100:150, 110:150], expected[100:150, 110:150])


def test_the_head_covers_more_than_the_face(face, grey):
    head, only_face = (changed(draw_layer(grey, [face], name), grey) for name in ("head", "mesh"))
    assert head.sum() > 1.5 * only_face.sum()


def test_a_wireframe_has_no_hidden_edges(grey):
    """In three-quarter view the nose hides a part of the cheek, which has edges of its own."""
    turned = random_face((0, 55, 0), seed=0)
    vertices, triangles = turned.vertices(), turned.morphable_model.face_triangles
    front = triangles[facing(vertices, triangles)]
    fragments = rasterize(vertices, front, 256, 256)
    seen = np.unique(front[np.unique(fragments.face_index[fragments.mask])])
    used = []

    def spy(points, which, height, width):
        used.append(which)
        return rasterize(points, which, height, width)

    picture = draw_layer(grey, [turned], "wireframe", spy)
    assert used
    hidden = np.setdiff1d(np.unique(front), seen)
    assert len(hidden) > 20
    lines = changed(picture, grey)
    assert lines[fragments.mask].mean() < 0.8


@pytest.mark.parametrize("height", [40, 110, 400, 1500])
def test_a_wireframe_can_be_told_apart_at_every_size(face, placed, height):
    image = np.zeros((2000, 2000, 3), np.uint8)
    one = placed(face, height, (1000, 1000))
    lines = changed(draw_layer(image, [one], "wireframe"), image)
    covered = changed(draw_layer(image, [one], "pncc"), image)
    assert 0.1 < lines.sum() / covered.sum() < (0.8 if height > 50 else 1.1)


def test_the_pose_picture_names_the_direction(face, grey):
    one, other = (dataclasses.replace(face, pose=random_face((5, yaw, 0), seed=1).pose) for yaw in (20, 21))
    lower = draw_layer(grey, [one], "pose")[210:], draw_layer(grey, [other], "pose")[210:]
    assert (lower[0] == 255).all(-1).sum() > 10
    assert not np.array_equal(*lower)


def test_photos_are_taken_as_the_predictor_takes_them(face, grey, tmp_path):
    Image.fromarray(grey).save(tmp_path / "grey.png")
    expected = draw_layer(grey, [face], "points")
    for photo in (tmp_path / "grey.png", Image.fromarray(grey)):
        np.testing.assert_array_equal(draw_layer(photo, [face], "points"), expected)
        np.testing.assert_array_equal(draw_picture(photo, [face], "points"), expected)
    with pytest.raises(ValueError, match="an image is"):
        draw_layer(grey[..., 0], [face], "points")
