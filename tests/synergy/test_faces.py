import csv
import json
import pickle
from dataclasses import replace

import numpy as np
import pytest

from synergy.demo import random_face
from synergy.errors import UserError
from synergy.face import Face
from synergy.faces import Faces

YAWS = (-50, 0, 10, 40)


@pytest.fixture(scope="module")
def faces():
    return Faces(random_face((5, yaw, 0), seed=i) for i, yaw in enumerate(YAWS))


CHOICES = [
    # index                                  which faces
    (slice(1, 3), [1, 2]),
    (slice(None, None, -1), [3, 2, 1, 0]),
    ([3, 0], [3, 0]),
    (np.array([-1]), [3]),
    ([], []),
    ([False, True, True, False], [1, 2]),
    (np.zeros(4, bool), []),
]


@pytest.mark.parametrize(("index", "expected"), CHOICES, ids=[str(index) for index, _ in CHOICES])
def test_slices_masks_and_indices_give_faces(faces, index, expected):
    chosen = faces[index]
    assert isinstance(chosen, Faces)
    assert list(chosen) == [faces[i] for i in expected]


@pytest.mark.parametrize("index", [0, -1, np.int64(2)])
def test_an_integer_gives_a_face(faces, index):
    assert isinstance(faces[index], Face)
    assert faces[index] is list(faces)[int(index)]


@pytest.mark.parametrize("index", [7, [7], [True], 0.5, [0.5], [[0, 1]], "a", np.zeros((4, 1), bool)], ids=str)
def test_other_indices_are_errors(faces, index):
    with pytest.raises(IndexError):
        faces[index]


def test_stacked_arrays_hold_the_numbers_of_each_face(faces):
    assert faces.landmarks68.shape == (4, 68, 3)
    assert faces.boxes.shape == (4, 4)
    assert faces.score.shape == (4,)
    for i, face in enumerate(faces):
        np.testing.assert_array_equal(faces.landmarks68[i], face.landmarks68)
        np.testing.assert_array_equal(faces.boxes[i], face.box)
        np.testing.assert_array_equal(faces.pose.matrix[i], face.pose.matrix)
        for name in ("pitch", "yaw", "roll", "scale"):
            assert getattr(faces.pose, name)[i] == pytest.approx(getattr(face.pose, name))
    assert [round(face.pose.yaw) for face in faces[abs(faces.pose.yaw) < 20]] == [0, 10]


def test_meshes_of_all_faces_are_those_of_each_face(faces):
    meshes = faces.vertices()
    assert meshes.shape == (len(YAWS), *faces[0].morphable_model.mean.shape)
    for face, mesh in zip(faces, meshes, strict=True):
        np.testing.assert_allclose(mesh, face.vertices(), atol=1e-3)
    for face, mesh in zip(faces, faces.vertices(neutral=True), strict=True):
        np.testing.assert_allclose(mesh, face.vertices(neutral=True), atol=1e-3)
        assert np.abs(mesh - face.vertices()).max() > 0.1
    assert Faces([]).vertices().shape == (0, 0, 3)


def test_faces_of_a_video_are_chosen_by_person(faces):
    people = Faces(replace(face, track_id=number) for face, number in zip(faces, (1, 2, 1, None), strict=True))
    assert people.track_id.tolist() == [1, 2, 1, 0]
    assert people[people.track_id == 1].pose.yaw.tolist() == faces[[0, 2]].pose.yaw.tolist()


def test_meshes_of_different_models_are_an_error(faces):
    other = replace(faces[0], morphable_model=replace(faces[0].morphable_model))
    with pytest.raises(ValueError, match="different morphable models"):
        Faces([faces[1], other]).vertices()


def test_no_faces_have_empty_arrays():
    none = Faces()
    assert not none
    assert none.landmarks68.shape == (0, 68, 3)
    assert none.pose.matrix.shape == (0, 3, 3)
    assert len(none[none.score > 0.5]) == 0
    assert none.to_dict() == {"faces": []}


def test_save_by_suffix(tmp_path, faces):
    faces.save(tmp_path / "faces.json", "a.jpg")
    (image,) = json.loads((tmp_path / "faces.json").read_text())["images"]
    assert image == {"name": "a.jpg", **faces.to_dict()}
    faces.save(str(tmp_path / "faces.csv"))
    with (tmp_path / "faces.csv").open() as file:
        assert [round(float(row["yaw"])) for row in csv.DictReader(file)] == list(YAWS)
    with pytest.raises(UserError, match=r"faces\.xlsx: faces are saved as \.json or \.csv"):
        faces.save(tmp_path / "faces.xlsx")
    with pytest.raises(UserError, match=r"faces\.json: there is no folder .*nowhere"):
        faces.save(tmp_path / "nowhere" / "faces.json")


def test_saved_faces_can_be_read_back(tmp_path, faces):
    file = tmp_path / "faces.json"
    std, covariance = np.linspace(1, 2, 68, dtype=np.float32), np.diag(np.float32([0.01, 0.02, 0.03]))
    known = Faces(
        replace(face, landmarks68_std=std, rotation_covariance=covariance, confidence=0.75, track_id=3)
        for face in faces
    )
    for written in (faces, known):
        written.save(file, "a.jpg")
        for back in (Faces.load(file), Faces.load(str(file), "a.jpg")):
            for name in ("boxes", "score", "confidence", "landmarks68", "landmarks68_std", "track_id"):
                np.testing.assert_allclose(getattr(back, name), getattr(written, name), atol=1e-3)
            for values, expected in zip(back.pose, written.pose, strict=True):
                np.testing.assert_allclose(values, expected, atol=1e-3)
            np.testing.assert_allclose(back.vertices(), written.vertices(), atol=0.01)
            assert back[0].morphable_model is faces[0].morphable_model
    np.testing.assert_allclose(back[1].rotation_covariance, covariance)


def test_faces_of_other_models_are_read_with_their_model(tmp_path, faces):
    model = replace(faces[0].morphable_model, name="my model")
    Faces([replace(faces[0], morphable_model=model)]).save(tmp_path / "faces.json")
    assert Faces.load(tmp_path / "faces.json", morphable_model=model)[0].morphable_model is model
    with pytest.raises(UserError, match=r"faces\.json: the face belongs to the morphable model 'my model', not to"):
        Faces.load(tmp_path / "faces.json")


UNREADABLE = [
    # content                                             message
    ("{", "cannot be read as JSON"),
    ("[]", "not a file of Faces.save"),
    ('{"images": [{"name": "a"}]}', "not a file of Faces.save"),
    ('{"images": []}', "has 0 images; give image_name"),
    ('{"images": [{"name": "a", "faces": [{}]}]}', "not a face as Face.to_dict gives it .*morphable_model"),
    ('{"images": [{"name": "a", "faces": [3]}]}', "not a face as Face.to_dict gives it"),
]


@pytest.mark.parametrize(("content", "message"), UNREADABLE, ids=[message for _, message in UNREADABLE])
def test_other_files_are_one_line(tmp_path, content, message):
    (tmp_path / "faces.json").write_text(content)
    with pytest.raises(UserError, match=message) as caught:
        Faces.load(tmp_path / "faces.json")
    assert "\n" not in str(caught.value)


def test_an_image_that_a_file_does_not_have_is_named(tmp_path, faces):
    faces.save(tmp_path / "faces.json", "a.jpg")
    with pytest.raises(UserError, match=r"faces\.json: has no image 'b\.jpg'"):
        Faces.load(tmp_path / "faces.json", "b.jpg")
    with pytest.raises(UserError, match=r"nothing\.json: cannot be read"):
        Faces.load(tmp_path / "nothing.json")


def test_faces_pickle_small_and_come_back_whole(faces):
    data = pickle.dumps(faces)
    assert len(data) < 6000 * len(faces)
    back = pickle.loads(data)
    assert back[0].morphable_model is faces[0].morphable_model
    np.testing.assert_array_equal(back[3].vertices(), faces[3].vertices())


def test_a_face_of_another_bundled_model_says_so(faces, monkeypatch):
    data = pickle.dumps(faces)
    monkeypatch.setattr("bfm_assets.open_face", lambda: faces[0].morphable_model.landmark_model())
    with pytest.raises(Exception, match="another version of the bundled face model"):
        pickle.loads(data)


def test_a_users_model_is_pickled_whole(tiny_model):
    tiny_model.vertices(np.zeros(4), np.zeros(3))
    back = pickle.loads(pickle.dumps([tiny_model, tiny_model]))
    assert back[0] is back[1]
    assert back[0].digest == tiny_model.digest
    assert len(pickle.dumps(back)) < 1.2 * sum(
        array.nbytes for array in vars(tiny_model).values() if isinstance(array, np.ndarray) and array.dtype != object
    )
