"""Faces of photos without annotations become crops that the readers know."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from synergy import FacePredictor, Faces
from synergy.cli.label import app
from synergy.crop import landmark_box, square_crop, warp
from synergy.data import open_reader
from synergy.demo import random_face
from synergy.errors import UserError
from synergy.images import read_image
from train.annotate.photos import find_faces


def test_faces_of_photos_become_crops_without_annotations(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    (photos / "more").mkdir(parents=True)
    pytest.importorskip("skimage")
    image = read_image(str(files("skimage") / "data" / "astronaut.png"))
    cv2.imwrite(str(photos / "one.png"), image[..., ::-1])
    cv2.imwrite(str(photos / "more" / "empty.png"), np.zeros((80, 80, 3), np.uint8))
    (photos / "broken.jpg").write_bytes(b"no image")
    result = CliRunner().invoke(app, ["find", str(photos), "--out", str(tmp_path / "faces.tar")])
    assert result.exit_code == 0, result.output
    assert "broken.jpg: not a readable image" in result.output
    reader = open_reader(tmp_path / "faces.tar")
    assert list(reader.names) == ["one_0.jpg"]
    sample = reader.read(0)
    assert np.isnan(sample.landmarks68).all()
    # The crop around the reader's box is the one around the predicted landmarks.
    [face] = FacePredictor()(image)
    expected = warp(image, square_crop(landmark_box(face.landmarks68), 120), 120)
    stored = warp(sample.image, square_crop(sample.box, 120), 120)
    assert np.abs(stored.astype(float) - expected).mean() < 2


def test_photos_of_one_name_keep_their_faces_apart(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    (photos / "a").mkdir(parents=True)
    for name in ("a.jpg", "a.png", "a/b.png", "a_b.png"):
        cv2.imwrite(str(photos / name), np.zeros((256, 256, 3), np.uint8))
    faces = Faces([random_face((0, 0, 0), seed=0)])
    assert find_faces(photos, tmp_path / "faces.tar", lambda image: faces, lambda *_: None, print) == 4
    assert len(open_reader(tmp_path / "faces.tar").names) == 4


def test_photos_without_a_face_are_one_line(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    arguments = FacePredictor(), lambda done, total: None, lambda line: None
    with pytest.raises(UserError, match="no photos in it"):
        find_faces(folder, tmp_path / "faces.tar", *arguments)
    cv2.imwrite(str(folder / "empty.png"), np.zeros((80, 80, 3), np.uint8))
    with pytest.raises(UserError, match="no face in 1 photos"):
        find_faces(folder, tmp_path / "faces.tar", *arguments)


def test_crops_and_their_annotations_do_not_replace_files(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    cv2.imwrite(str(tmp_path / "photos" / "a.png"), np.zeros((200, 200, 3), np.uint8))
    (tmp_path / "AFLW.npz").write_bytes(b"mine")
    for name, message in (("crops.npz", "written as .tar"), ("AFLW.tar", "AFLW.npz exists")):
        with pytest.raises(UserError, match=message):
            find_faces(tmp_path / "photos", tmp_path / name, FacePredictor(), lambda *_: None, print)
    assert (tmp_path / "AFLW.npz").read_bytes() == b"mine"
    # Nor a data set whose crops were made before.
    (tmp_path / "AFLW.tar").write_bytes(b"mine, too")
    with pytest.raises(UserError, match=r"AFLW\.npz exists"):
        find_faces(tmp_path / "photos", tmp_path / "AFLW.tar", FacePredictor(), lambda *_: None, print)
    assert (tmp_path / "AFLW.tar").read_bytes() == b"mine, too"
