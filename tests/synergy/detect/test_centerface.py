from importlib.resources import files

import cv2
import numpy as np
import pytest

from synergy.detect import CenterFace
from synergy.images import read_image

# Eye centres of the photo, found by hand: a face box must hold both.
EYES = np.array([[203, 112], [246, 113]])


@pytest.fixture(scope="module")
def detector():
    return CenterFace()


@pytest.fixture(scope="module")
def astronaut():
    return read_image(str(files("skimage") / "data" / "astronaut.png"))


def holds(box, points):
    return (points > box[:2]).all() and (points < box[2:]).all()


def test_one_face_in_the_photo(detector, astronaut):
    boxes, scores = detector(astronaut)
    assert len(boxes) == len(scores) == 1
    assert holds(boxes[0], EYES)
    assert 0.5 < scores[0] <= 1


@pytest.mark.parametrize("shape", [(512, 512), (700, 512), (512, 777), (333, 512)])
def test_padding_and_odd_sizes_do_not_move_the_box(detector, astronaut, shape):
    canvas = np.zeros((*shape, 3), np.uint8)
    canvas[:300] = 0
    canvas[: min(512, shape[0]), : min(512, shape[1])] = astronaut[: shape[0], : shape[1]]
    np.testing.assert_allclose(detector(canvas).boxes[0], detector(astronaut).boxes[0], atol=4)


def test_small_and_large_pictures_of_the_same_face(detector, astronaut):
    face = astronaut[20:220, 120:320]
    box = detector(face).boxes[0]
    half = face.reshape(100, 2, 100, 2, 3).mean((1, 3)).astype(np.uint8)
    close_up = cv2.resize(face, (1600, 1600), interpolation=cv2.INTER_CUBIC)
    for picture, factor in ((half, 0.5), (close_up, 8)):
        found = detector(picture).boxes
        assert len(found) == 1
        np.testing.assert_allclose(found[0] / factor, box, atol=10)


def test_two_faces_best_first(detector, astronaut):
    pair = np.concatenate([astronaut, astronaut[:, ::-1]], 1)
    boxes, scores = detector(pair)
    assert len(boxes) == 2
    assert scores[0] >= scores[1]
    assert {holds(boxes[0], EYES), holds(boxes[1], EYES)} == {True, False}


def test_no_face(detector):
    boxes, scores = detector(np.full((200, 300, 3), 127, np.uint8))
    assert boxes.shape == (0, 4)
    assert scores.shape == (0,)


def test_landmark_box_is_a_square_that_moves_and_scales_with_the_face(detector):
    boxes = np.array([[10, 20, 70, 100], [100, 100, 180, 150]], np.float32)
    squares = detector.crop_box(boxes)
    sides = squares[:, 2:] - squares[:, :2]
    np.testing.assert_allclose(sides[:, 0], sides[:, 1], rtol=1e-5)
    np.testing.assert_allclose(detector.crop_box(boxes * 3 + 7), squares * 3 + 7, rtol=1e-5)
