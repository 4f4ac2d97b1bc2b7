import json
import struct
from dataclasses import replace

import numpy as np
import pytest
import trimesh
from scipy.spatial.transform import Rotation

from bfm_assets import open_face
from synergy.animation import FaceAnimation
from synergy.demo import random_face
from synergy.geometry import flip_y
from synergy.parameters import split_parameters
from synergy.texture import face_texture

SIZE = 256
TYPES = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4}


@pytest.fixture(scope="module")
def frames():
    """The same person at three poses, with three expressions."""
    shape = None
    faces = []
    for angles, seed in (((0, 0, 0), 0), ((0, 30, 0), 1), ((10, -20, 15), 2)):
        face = random_face(angles, seed)
        if shape is None:
            shape = split_parameters(face.params, face.morphable_model.n_shape)[1]
        params = face.params.copy()
        params[12 : 12 + len(shape)] = shape
        faces.append(replace(face, params=params))
    return faces


@pytest.fixture(scope="module")
def file(frames, tmp_path_factory):
    path = tmp_path_factory.mktemp("animation") / "face.glb"
    image = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
    animation = FaceAnimation()
    for i, face in enumerate(frames):
        animation.add(2 + i / 10, face, image)
    animation.write(path)
    return path, image


def read(path):
    """Return the document of a .glb file, and a function that reads an accessor's array."""
    data = path.read_bytes()
    magic, version, length, n_text = struct.unpack("<4sIII", data[:16])
    assert (magic, version, length) == (b"glTF", 2, len(data))
    document, binary = json.loads(data[20 : 20 + n_text]), data[28 + n_text :]
    assert document["buffers"][0]["byteLength"] == len(binary)

    def array(index):
        accessor = document["accessors"][index]
        view = document["bufferViews"][accessor["bufferView"]]
        kind = {5126: np.float32, 5125: np.uint32}[accessor["componentType"]]
        count = accessor["count"] * TYPES[accessor["type"]]
        values = np.frombuffer(binary, kind, count, view["byteOffset"]).reshape(accessor["count"], -1)
        if "min" in accessor:
            np.testing.assert_allclose(accessor["min"], values.min(0), rtol=1e-6)
            np.testing.assert_allclose(accessor["max"], values.max(0), rtol=1e-6)
        return values

    return document, array


def test_every_frame_of_the_animation_is_the_face(frames, file):
    document, array = read(file[0])
    (primitive,) = document["meshes"][0]["primitives"]
    neutral = array(primitive["attributes"]["POSITION"])
    targets = np.array([array(target["POSITION"]) for target in primitive["targets"]])
    (animation,) = document["animations"]
    tracks = {
        channel["target"]["path"]: array(animation["samplers"][channel["sampler"]]["output"])
        for channel in animation["channels"]
    }
    times = array(animation["samplers"][0]["input"])
    np.testing.assert_allclose(times[:, 0], [0, 0.1, 0.2], atol=1e-6)
    weights = tracks["weights"].reshape(3, -1)
    for i, face in enumerate(frames):
        local = neutral + np.einsum("k,kvc->vc", weights[i], targets)
        world = Rotation.from_quat(tracks["rotation"][i]).apply(tracks["scale"][i] * local) + tracks["translation"][i]
        expected = flip_y(face.vertices() - [(SIZE - 1) / 2, (SIZE - 1) / 2, 0])
        np.testing.assert_allclose(world, expected, atol=0.02)
    np.testing.assert_array_equal(array(primitive["indices"]).reshape(-1, 3), open_face().triangles)


def test_targets_have_the_names_of_the_expressions(file):
    document, _ = read(file[0])
    (mesh,) = document["meshes"]
    assert mesh["extras"]["targetNames"] == list(open_face().expression_names)
    assert len(mesh["primitives"][0]["targets"]) == len(mesh["weights"]) == open_face().n_expression


def test_the_texture_is_that_of_the_most_frontal_frame(frames, file):
    path, image = file
    (mesh,) = trimesh.load(path).geometry.values()
    texture = np.asarray(mesh.visual.material.baseColorTexture.convert("RGB"))
    np.testing.assert_array_equal(texture, face_texture(frames[0], image))


def test_a_neutral_animation_moves_without_expressions(frames, tmp_path):
    animation = FaceAnimation(neutral=True)
    for i, face in enumerate(frames):
        animation.add(i, face, np.zeros((SIZE, SIZE, 3), np.uint8))
    animation.write(tmp_path / "a.glb")
    document, array = read(tmp_path / "a.glb")
    (described,) = document["animations"]
    channels = {channel["target"]["path"]: channel["sampler"] for channel in described["channels"]}
    assert not array(described["samplers"][channels["weights"]]["output"]).any()
    assert np.ptp(array(described["samplers"][channels["rotation"]]["output"]), axis=0).max() > 0.1


def test_neighbouring_keys_of_the_rotation_are_near_each_other(file):
    document, array = read(file[0])
    (animation,) = document["animations"]
    channels = {channel["target"]["path"]: channel["sampler"] for channel in animation["channels"]}
    rotation = array(animation["samplers"][channels["rotation"]]["output"])
    assert ((rotation[1:] * rotation[:-1]).sum(1) > 0).all()


def test_trimesh_reads_the_mesh(file):
    scene = trimesh.load(file[0])
    (mesh,) = scene.geometry.values()
    assert len(mesh.faces) == len(open_face().triangles)
    np.testing.assert_allclose(mesh.visual.uv, open_face().uv, atol=1e-6)


def test_an_animation_without_faces_is_refused(tmp_path):
    with pytest.raises(ValueError, match="at least one face"):
        FaceAnimation().write(tmp_path / "a.glb")
