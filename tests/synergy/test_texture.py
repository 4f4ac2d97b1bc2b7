import dataclasses

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from synergy.demo import random_face
from synergy.draw import draw_mesh
from synergy.raster import facing, rasterize, vertex_normals
from synergy.texture import face_texture, texel_positions, texture_size, vertex_colours
from synergy.visibility import visible_points

SIZE = 512


def symmetric_colours(model):
    """Smooth colours that are the same on both halves of the head."""
    x, y, z = (model.mean / np.abs(model.mean).max(0)).T
    return (120 + 60 * np.stack([np.cos(6 * y), np.cos(5 * x), np.cos(7 * z)], 1)).astype(np.uint8)


def paint(face, colours):
    """A photo of a face without shading, on green."""
    vertices, triangles = face.vertices(), face.morphable_model.triangles
    image = np.full((256, 256, 3), (0, 255, 0), np.uint8)
    front = triangles[facing(vertices, triangles)]
    fragments = rasterize(vertices, front, 256, 256)
    image[fragments.mask] = fragments.interpolate_covered(colours, front)
    return image


@pytest.fixture(scope="module")
def turned():
    return random_face((0, 45, 0), seed=0)


@pytest.fixture(scope="module")
def textured(turned):
    """The colours of the vertices in the texture, and the true ones."""
    colours = symmetric_colours(turned.morphable_model)
    texture = face_texture(turned, paint(turned, colours), SIZE)
    return vertex_colours(turned, texture).astype(int), colours.astype(int)


def seen_well(face):
    vertices, triangles = face.vertices(), face.morphable_model.triangles
    visible = visible_points(vertices, vertices, triangles)
    return visible & (vertex_normals(vertices, triangles)[:, 2] > 0.7) & face.morphable_model.face_mask


def test_the_seen_part_has_the_colours_of_the_photo(turned, textured):
    found, true = textured
    error = np.abs(found - true)[seen_well(turned)]
    assert np.percentile(error, 95) < 8
    assert error.mean() < 3


def test_the_hidden_half_has_the_colours_of_the_other_half(turned, textured):
    found, true = textured
    model = turned.morphable_model
    mirrored = random_face((0, -45, 0), seed=0)
    hidden = ~visible_points(turned.vertices(), turned.vertices(), model.triangles) & seen_well(mirrored)
    assert hidden.sum() > 300
    error = np.abs(found - true)[hidden]
    assert np.percentile(error, 90) < 15
    # Without the other half, there would be the colours of the photo in front of the hidden part.
    plain = paint(turned, symmetric_colours(model))
    x, y = np.rint(turned.vertices()[hidden, :2]).astype(int).T
    assert error.mean() < 0.5 * np.abs(plain[y, x].astype(int) - true[hidden]).mean()


def test_the_background_does_not_leak_onto_the_head(turned, textured):
    found, _ = textured
    is_green = (found[:, 1] > 200) & (found[:, 0] < 60) & (found[:, 2] < 60)
    assert is_green.mean() < 0.002
    assert not is_green[turned.morphable_model.face_mask].any()


def test_there_are_no_borders_between_seen_and_filled_parts(turned, textured):
    found, true = textured
    ends = turned.morphable_model.face_triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
    step, true_step = (np.abs(c[ends[:, 0]] - c[ends[:, 1]]).max(1) for c in (found, true))
    assert np.percentile(step - true_step, 98) < 12


def test_half_a_face_in_shadow_has_no_border_in_the_middle():
    """The mirrored half is brought to the brightness of the half that it replaces."""
    face = random_face((0, 35, 0), seed=2)
    model = face.morphable_model
    shadow = np.where(model.mean[:, :1] < 0, 0.4, 1.0)
    colours = (symmetric_colours(model) * shadow).astype(np.uint8)
    found = vertex_colours(face, face_texture(face, paint(face, colours), SIZE)).astype(float)
    # The forehead and cheek of the far half, whose seen part near the middle is dark.
    far = model.face_mask & (model.mean[:, 0] * np.sign(face.pose.yaw) < -45)
    visible = visible_points(face.vertices(), face.vertices(), model.triangles)
    ratio = found[far & ~visible].mean() / symmetric_colours(model)[far & ~visible].mean()
    assert 0.2 < ratio < 0.75 or 0.75 < ratio * 0.4 < 1.3


def test_a_face_outside_the_image_is_no_error(turned):
    image = np.full((256, 256, 3), 77, np.uint8)
    crop = turned.crop.copy()
    crop[:, 2] -= 600
    moved = dataclasses.replace(turned, crop=crop)
    assert face_texture(moved, image, 256).shape == (256, 256, 3)
    half = turned.crop.copy()
    half[0, 2] += 130
    cut = dataclasses.replace(turned, crop=half)
    colours = vertex_colours(cut, face_texture(cut, image, 256)).astype(int)
    assert np.percentile(np.abs(colours[cut.morphable_model.face_mask] - 77), 90) < 10


def test_a_model_without_uv_and_colours_gets_a_texture(turned):
    plain = dataclasses.replace(turned.morphable_model, uv=None, colours=None, face_mask=None, region_weights=None)
    face = dataclasses.replace(turned, morphable_model=dataclasses.replace(plain, region_names=()))
    image = paint(turned, symmetric_colours(turned.morphable_model))
    found = vertex_colours(face, face_texture(face, image, SIZE)).astype(int)
    seen = np.flatnonzero(seen_well(turned))
    error = np.abs(found - symmetric_colours(plain))[seen]
    assert np.percentile(error, 80) < 12


def test_the_size_follows_the_face():
    face = random_face((0, 0, 0), seed=0)
    small, large = (
        dataclasses.replace(face, landmarks68=face.landmarks68 * np.float32(factor)) for factor in (0.01, 100)
    )
    assert texture_size(small) == 256
    assert texture_size(large) == 2048
    size = texture_size(face)
    assert size & (size - 1) == 0
    model = face.morphable_model
    texels = np.ptp(texel_positions(model, size)[model.landmarks, 1])
    assert texels >= np.ptp(face.landmarks68[:, 1])


def test_the_texture_gives_the_photo_again(turned):
    """Drawn in the pose of the photo, the textured mesh is the photo."""
    model = turned.morphable_model
    image = paint(turned, symmetric_colours(model))
    colours = vertex_colours(turned, face_texture(turned, image, SIZE))
    again = paint(turned, colours)
    mask = (draw_mesh(np.zeros_like(image), turned.vertices(), model.face_triangles) > 0).any(-1)
    error = np.abs(again.astype(int) - image)[mask]
    assert np.median(error) <= 2
    assert np.percentile(error, 90) < 12


def test_rotations_of_the_photo_do_not_change_the_texture():
    """A photo on its side: the same texture, apart from interpolation."""
    face = random_face((0, 20, 0), seed=1)
    colours = symmetric_colours(face.morphable_model)
    image = paint(face, colours)
    # Counter-clockwise rotation by 90 degrees: the pixel (x, y) goes to (y, 255 - x).
    crop = face.crop @ np.array([[0, -1, 255], [1, 0, 0], [0, 0, 1.0]])
    matrix = Rotation.from_euler("z", 90, degrees=True).as_matrix() @ face.pose.matrix
    pose = dataclasses.replace(face.pose, matrix=matrix.astype(np.float32))
    upright, rotated = face_texture(face, image, 256), None
    side = dataclasses.replace(face, crop=crop, pose=pose)
    side = dataclasses.replace(side, landmarks68=side.vertices()[face.morphable_model.landmarks])
    rotated = face_texture(side, np.ascontiguousarray(np.rot90(image)), 256)
    assert np.percentile(np.abs(upright.astype(int) - rotated), 95) < 6
