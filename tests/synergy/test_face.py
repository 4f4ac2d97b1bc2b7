import dataclasses
import json
from importlib.resources import files

import numpy as np
import pytest
import torch

from synergy.crop import invert_affine, transform_points, warp
from synergy.demo import random_face
from synergy.face import Face, pose_from_params
from synergy.images import read_image
from synergy.parameters import split_parameters
from synergy.predictor import FacePredictor


@pytest.fixture(scope="module")
def face():
    return random_face((10, -40, 20), seed=3)


def test_pose_is_what_it_was_made_with(face):
    assert (face.pose.pitch, face.pose.yaw, face.pose.roll) == pytest.approx((10, -40, 20), abs=1e-3)
    np.testing.assert_allclose(face.pose.matrix @ face.pose.matrix.T, np.eye(3), atol=1e-6)


@pytest.fixture(scope="module")
def photo():
    """A public-domain photo of one person (Eileen Collins, NASA), which scikit-image carries."""
    return read_image(str(files("skimage") / "data" / "astronaut.png"))


def face_of(output, affine, net):
    """The face of a network's own parameters, before they follow the refined landmarks."""
    params = output.params[0].numpy()
    return Face(
        box=np.zeros(4, np.float32),
        score=1.0,
        landmarks68=transform_points(invert_affine(affine), output.landmarks[0].numpy()).astype(np.float32),
        pose=pose_from_params(params, affine),
        params=params,
        crop=affine,
        crop_size=net.size,
        model_id=net.model_id,
        morphable_model=net.morphable_model,
    )


def test_the_mesh_passes_through_the_coarse_landmarks_of_a_real_photo(photo):
    """The pose that places the mesh is the one that places the network's landmarks: a rotation times a scale."""
    predictor = FacePredictor()
    (face,) = predictor(photo)
    crop = torch.from_numpy(warp(photo, face.crop, face.crop_size)).permute(2, 0, 1)[None]
    with torch.inference_mode():
        output = predictor.net(crop)
    own = face_of(output, face.crop, predictor.net)
    coarse = transform_points(invert_affine(face.crop), output.coarse[0].numpy())
    np.testing.assert_allclose(own.vertices()[own.morphable_model.landmarks], coarse, atol=1e-3)
    # The network's raw pose is not a rotation: with it the mesh would miss its landmarks.
    raw = dataclasses.replace(own, params=predictor.net.dewhiten(output.whitened)[0].numpy())
    assert np.abs(raw.vertices()[own.morphable_model.landmarks] - coarse).max() > 0.1


@pytest.mark.parametrize("mirror", [False, True])
def test_mesh_pose_and_landmarks_of_a_real_photo_belong_together(photo, mirror):
    predictor = FacePredictor(mirror=mirror)
    (face,) = predictor(photo)
    mesh = face.vertices()[face.morphable_model.landmarks]
    # The pose that is reported places the mesh.
    points = face.morphable_model.vertices(*split_parameters(face.params, face.morphable_model.n_shape)[1:])
    placed = face.pose.scale * points[face.morphable_model.landmarks] @ face.pose.matrix.T
    shape_in_image = (mesh - mesh.mean(0)) * [1, -1, 1]
    np.testing.assert_allclose(placed - placed.mean(0), shape_in_image, atol=1e-3)
    # The mesh is nearer to the refined landmarks than the network's own parameters are.
    crop = torch.from_numpy(warp(photo, face.crop, face.crop_size)).permute(2, 0, 1)[None]
    with torch.inference_mode():
        own = face_of(predictor.net(crop), face.crop, predictor.net)
    before = np.linalg.norm(own.vertices()[own.morphable_model.landmarks] - own.landmarks68, axis=1).mean()
    after = np.linalg.norm(mesh - face.landmarks68, axis=1).mean()
    assert after < 0.8 * before


def test_vertices_follow_the_crop_back_to_the_image(face):
    """The same crop taken from a place 100 px to the right in an image twice as large."""
    moved = dataclasses.replace(face, crop=np.array([[0.5, 0, -50], [0, 0.5, 0]]))
    expected = face.vertices() * 2 + np.array([100, 0, 0])
    np.testing.assert_allclose(moved.vertices(), expected, atol=1e-2)


def test_a_landmark_model_has_no_mesh(face):
    sparse = dataclasses.replace(face, morphable_model=face.morphable_model.landmark_model())
    with pytest.raises(ValueError, match="landmark vertices only"):
        sparse.vertices()


def test_dictionary_survives_json(face):
    read = json.loads(json.dumps(face.to_dict()))
    np.testing.assert_allclose(read["landmarks68"], face.landmarks68, atol=1e-3)
    assert read["pose_deg"]["yaw"] == pytest.approx(-40, abs=1e-2)
    assert len(read["params"]) == len(face.params)
