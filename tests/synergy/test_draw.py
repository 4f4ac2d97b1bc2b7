"""Golden tests by properties: where points must be, which pixels the mesh covers."""

import dataclasses
import tracemalloc

import cv2
import numpy as np
import pytest

from synergy.demo import random_face
from synergy.draw import (
    draw_axes,
    draw_contours,
    draw_mesh,
    draw_points,
    draw_pose_box,
    draw_wireframe,
    mesh_overlay,
    overlay,
    uncertain_points,
    vertex_normals,
)
from synergy.geometry import euler_to_matrix
from synergy.landmarks import CONTOURS
from synergy.raster import facing, rasterize

GREY = np.full((256, 256, 3), 90, np.uint8)


@pytest.fixture(scope="module")
def face():
    return random_face((5, 20, 0), seed=1)


def changed(picture, before=GREY):
    return (picture != before).any(-1)


def test_every_painter_leaves_its_input_alone(face):
    image = GREY.copy()
    vertices, triangles = face.vertices(), face.morphable_model.triangles
    for picture in (
        overlay(image, [face]),
        mesh_overlay(image, [face]),
        draw_wireframe(image, vertices, triangles),
        draw_pose_box(image, face.pose, face.landmarks68),
    ):
        assert picture.shape == image.shape
        assert picture.dtype == np.uint8
        assert changed(picture).any()
    assert (image == 90).all()


def test_no_face_is_the_image_itself():
    np.testing.assert_array_equal(overlay(GREY, []), GREY)
    np.testing.assert_array_equal(mesh_overlay(GREY, []), GREY)


def test_points_are_drawn_where_they_are_and_nowhere_else():
    points = np.array([[30.0, 40.0], [100.5, 60.25], [200.0, 210.0]])
    picture = draw_points(GREY, points, colour=(255, 0, 0), radius=2)
    y, x = np.nonzero(changed(picture))
    distances = np.linalg.norm(np.stack([x, y], 1)[:, None] - points, axis=-1)
    assert distances.min(1).max() < 4
    # The weighted centre of each disc is its point, to a tenth of a pixel or so.
    weight = picture[y, x, 0].astype(float) - 90
    for i, point in enumerate(points):
        mine = distances.argmin(1) == i
        centre = (np.stack([x, y], 1)[mine] * weight[mine, None]).sum(0) / weight[mine].sum()
        np.testing.assert_allclose(centre, point, atol=0.2)


def test_points_outside_the_image_are_no_error():
    np.testing.assert_array_equal(draw_points(GREY, np.array([[-50.0, 10.0], [999.0, 999.0]]), radius=2), GREY)


def test_contours_pass_through_their_landmarks(face):
    picture = changed(draw_contours(GREY, face.landmarks68))
    x, y = np.rint(face.landmarks68[:, :2]).astype(int).T
    assert picture[y, x].all()
    assert {n for first, last, _ in CONTOURS.values() for n in range(first, last)} == set(range(68))


def test_axes_point_where_the_head_points(face):
    origin = np.array([128.0, 128.0])
    # Nose to the image's left and up: the blue axis ends there.
    import torch

    angles = torch.deg2rad(torch.tensor([20.0, 45.0, 0.0]))
    pose = dataclasses.replace(face.pose, matrix=euler_to_matrix(angles).numpy())
    picture = draw_axes(GREY, pose, origin, length=80).astype(int)
    blue = (picture[..., 2] - picture[..., 0]) > 60
    y, x = np.nonzero(blue)
    assert x.min() < 128 - 50
    assert y.min() < 128 - 15
    green = (picture[..., 1] - picture[..., 2]) > 60
    assert np.nonzero(green)[0].min() < 128 - 60


def test_mesh_covers_exactly_what_the_rasteriser_says(face):
    vertices, triangles = face.vertices(), face.morphable_model.triangles
    painted = changed(draw_mesh(GREY, vertices, triangles, np.full((len(vertices), 3), 255, np.uint8)))
    covered = rasterize(vertices, triangles, 256, 256).mask
    # Where only back faces show (the open rims), nothing is painted.
    assert not (painted & ~covered).any()
    assert painted.sum() > 0.9 * covered.sum()


def test_opacity_blends(face):
    vertices, triangles = face.vertices(), face.morphable_model.triangles
    full, half, none = (draw_mesh(GREY, vertices, triangles, alpha=a).astype(int) for a in (1.0, 0.5, 0.0))
    np.testing.assert_array_equal(none, GREY)
    np.testing.assert_allclose(half, (full + GREY) / 2, atol=1)


def test_normals_of_a_sphere_point_outward():
    import trimesh

    sphere = trimesh.creation.icosphere(subdivisions=3)
    # Model space (y up) to image space (y down).
    image_space = sphere.vertices * [1, -1, 1]
    np.testing.assert_allclose(vertex_normals(image_space, sphere.faces), image_space, atol=0.02)


def test_wireframe_draws_inside_the_mesh_only(face):
    vertices, triangles = face.vertices(), face.morphable_model.triangles
    drawn = changed(draw_wireframe(GREY, vertices, triangles))
    low, high = vertices[:, :2].min(0) - 2, vertices[:, :2].max(0) + 2
    y, x = np.nonzero(drawn)
    assert (np.stack([x, y], 1) >= low).all()
    assert (np.stack([x, y], 1) <= high).all()


def test_the_pose_box_of_a_frontal_face_is_two_squares(face):
    import torch

    frontal = dataclasses.replace(face.pose, matrix=torch.eye(3).numpy())
    _, x = np.nonzero(changed(draw_pose_box(GREY, frontal, face.landmarks68)))
    centre = face.landmarks68[:, :2].mean(0)
    half = np.ptp(face.landmarks68[:, :2], axis=0).max() * 0.6
    # Half of the front's stroke, and a pixel of antialiasing on either side.
    stroke = max(2, round(half / 40)) / 2 + 2
    expected = np.clip(centre[0] + half * np.array([-1, 1]), 0, 255)
    np.testing.assert_allclose([x.min(), x.max()], expected, atol=stroke)


def placed(face, height, centre):
    """The face in an image where its landmarks are `height` pixels high around a centre."""
    scale = np.ptp(face.landmarks68[:, 1]) / height
    middle = face.landmarks68[:, :2].mean(0)
    crop = np.array([[scale, 0, middle[0] - scale * centre[0]], [0, scale, middle[1] - scale * centre[1]]])
    pose = dataclasses.replace(face.pose, scale=face.pose.scale / scale)
    moved = dataclasses.replace(face, crop=crop, pose=pose)
    return dataclasses.replace(moved, landmarks68=moved.vertices()[face.morphable_model.landmarks])


def plain_blend(image, vertices, triangles, alpha):
    """A shaded grey mesh over the image, computed in float64 for every pixel of the image."""
    front = triangles[facing(vertices, triangles)]
    fragments = rasterize(vertices, front, *image.shape[:2])
    light = np.array([0.25, -0.35, 0.9]) / np.linalg.norm([0.25, -0.35, 0.9])
    lit = 200 * (0.3 + 0.7 * np.clip(vertex_normals(vertices, triangles) @ light, 0, 1))
    colour = (lit[front[fragments.face_index]] * fragments.barycentric).sum(-1)[..., None]
    return np.where(fragments.mask[..., None], image * (1 - alpha) + colour * alpha, image)


PLACES = [
    # height of the landmarks, centre; the image has 260 x 300 pixels
    (100, (150, 120)),
    (180, (30, 20)),  # partly outside on the left and above
    (180, (290, 250)),  # partly outside on the right and below
    (900, (150, 100)),  # larger than the image
    (12, (150, 100)),
    (100, (900, 900)),  # outside
]


@pytest.mark.parametrize("band", [1 << 18, 5000])
@pytest.mark.parametrize(("height", "centre"), PLACES)
def test_a_mesh_is_the_blend_over_the_whole_image(face, monkeypatch, height, centre, band):
    monkeypatch.setattr("synergy.draw._BAND_PIXELS", band)
    image = np.random.default_rng(0).integers(0, 256, (260, 300, 3), dtype=np.uint8)
    one = placed(face, height, centre)
    expected = plain_blend(image, one.vertices(), one.morphable_model.face_triangles, 0.5)
    drawn = mesh_overlay(image, [one])
    np.testing.assert_allclose(drawn.astype(float), expected, atol=1)
    np.testing.assert_array_equal(
        drawn, draw_mesh(image, one.vertices(), one.morphable_model.face_triangles, alpha=0.5)
    )


@pytest.mark.parametrize(("height", "centre"), PLACES)
def test_a_wireframe_is_the_blend_over_the_whole_image(face, height, centre):
    image = np.random.default_rng(0).integers(0, 256, (260, 300, 3), dtype=np.uint8)
    one = placed(face, height, centre)
    vertices, triangles = one.vertices(), one.morphable_model.face_triangles
    corners = np.rint(vertices[triangles[facing(vertices, triangles)], :2] * 16).astype(np.int32)
    lines = cv2.polylines(image.copy(), list(corners), True, (120, 200, 255), 1, cv2.LINE_AA, 4)
    expected = image * 0.6 + lines * 0.4
    np.testing.assert_allclose(draw_wireframe(image, vertices, triangles).astype(float), expected, atol=1)


@pytest.mark.parametrize("paint", [overlay, mesh_overlay])
def test_pictures_are_those_of_the_input_away_from_the_faces(face, paint):
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
def test_a_large_photo_needs_little_memory(face, paint):
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


def test_face_region_at_half_opacity_is_the_default(face):
    triangles = face.morphable_model.face_triangles
    assert len(triangles) < len(face.morphable_model.triangles)
    expected = draw_mesh(GREY, face.vertices(), triangles, alpha=0.5)
    np.testing.assert_array_equal(mesh_overlay(GREY, [face]), expected)


def test_the_id_of_a_tracked_face_is_drawn_above_it(face):
    plain, first, second = (overlay(GREY, [dataclasses.replace(face, track_id=number)]) for number in (None, 1, 2))
    assert not np.array_equal(first, second)
    changed = np.argwhere((plain != first).any(-1))
    assert changed[:, 0].max() <= face.landmarks68[:, 1].min() + 2
    # A face at the upper edge of the image does not break it.
    higher = dataclasses.replace(face, track_id=1, landmarks68=face.landmarks68 - [0, 300, 0])
    assert overlay(GREY, [higher]).shape == GREY.shape


def test_hidden_and_uncertain_points_are_faint():
    frontal, profile = random_face((0, 0, 0), seed=0), random_face((0, 60, 0), seed=0)
    assert not uncertain_points(frontal)[17:].any()
    # Positive yaw turns the nose to the image's left, so the side of the first jaw points is hidden.
    hidden = uncertain_points(profile)
    assert hidden[:4].all()
    assert not hidden[10:17].any()
    std = np.zeros(68, np.float32)
    std[30] = np.ptp(frontal.landmarks68[:, 1]) * 0.3
    uncertain = dataclasses.replace(frontal, landmarks68_std=std)
    assert uncertain_points(uncertain)[30]
    x, y = np.rint(frontal.landmarks68[40, :2]).astype(int)
    full = overlay(GREY, [frontal])
    all_faint = dataclasses.replace(frontal, landmarks68_std=np.full(68, 1e3, np.float32))
    faint = overlay(GREY, [all_faint])
    change = np.abs(full.astype(int) - GREY)[y, x].max(), np.abs(faint.astype(int) - GREY)[y, x].max()
    assert 0 < change[1] < 0.5 * change[0]
    np.testing.assert_array_equal(overlay(GREY, [dataclasses.replace(frontal, landmarks68_std=0 * std)]), full)
