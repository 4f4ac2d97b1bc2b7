import pickle
import tarfile
from importlib.resources import files

import cv2
import numpy as np
import pytest

from synergy.detect import CenterFace
from synergy.detect.centerface import _suppress
from synergy.errors import UserError
from synergy.images import read_image
from synergy.upright import rotate_image

# Eye centres of the photo, found by hand: a face box must hold both.
EYES = np.array([[203, 112], [246, 113]])


@pytest.fixture(scope="module", params=["auto", "opencv"])
def detector(request):
    return CenterFace(engine=request.param)


@pytest.fixture(scope="module")
def astronaut():
    return read_image(str(files("skimage") / "data" / "astronaut.png"))


def holds(box, points):
    return (points > box[:2]).all() and (points < box[2:]).all()


def test_one_face_in_the_photo(detector, astronaut):
    boxes, scores, _ = detector(astronaut)
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
    boxes, scores, _ = detector(pair)
    assert len(boxes) == 2
    assert scores[0] >= scores[1]
    assert {holds(boxes[0], EYES), holds(boxes[1], EYES)} == {True, False}


def test_no_face(detector):
    boxes, scores, _ = detector(np.full((200, 300, 3), 127, np.uint8))
    assert boxes.shape == (0, 4)
    assert scores.shape == (0,)


def test_landmark_box_is_a_square_that_moves_and_scales_with_the_face(detector):
    boxes = np.array([[10, 20, 70, 100], [100, 100, 180, 150]], np.float32)
    squares = detector.crop_box(boxes)
    sides = squares[:, 2:] - squares[:, :2]
    np.testing.assert_allclose(sides[:, 0], sides[:, 1], rtol=1e-5)
    np.testing.assert_allclose(detector.crop_box(boxes * 3 + 7), squares * 3 + 7, rtol=1e-5)


def close_up(image, box, margin, side):
    """The square of `margin` times a box, enlarged to `side` pixels; and the box in it."""
    centre, half = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]).max() / 2 * margin
    x0, y0 = np.clip(np.floor(centre - half).astype(int), 0, None)
    x1, y1 = np.minimum(np.ceil(centre + half).astype(int), [image.shape[1], image.shape[0]])
    crop = image[y0:y1, x0:x1]
    scale = side / max(crop.shape[:2])
    picture = cv2.resize(crop, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    return picture, (box - [x0, y0, x0, y0]) * scale


@pytest.mark.parametrize("side", [300, 700, 1260])
@pytest.mark.parametrize("margin", [1.0, 1.1, 1.3, 1.7])
def test_close_ups_have_one_face_at_its_place(detector, astronaut, margin, side):
    picture, box = close_up(astronaut, detector(astronaut).boxes[0], margin, side)
    boxes = detector(picture).boxes
    assert len(boxes) == 1
    expected = detector.crop_box(box[None])[0]
    np.testing.assert_allclose(detector.crop_box(boxes)[0], expected, atol=0.12 * (expected[2] - expected[0]))


def test_close_ups_of_real_photos(detector, shared_data):
    """Photos that the face fills, enlarged: every face is found once, near the box of its landmarks."""
    far = []
    with tarfile.open(shared_data / "helen_test.tar") as archive:
        names = sorted(name for name in archive.getnames() if name.endswith(".jpg"))[:20]
        for name in names:
            image = read_image(archive.extractfile(name).read())
            points = np.loadtxt(archive.extractfile(name[:-3] + "pts"), skiprows=3, max_rows=68) - 1
            picture, box = close_up(image, np.concatenate([points.min(0), points.max(0)]), 1.2, 1260)
            boxes = detector.crop_box(detector(picture).boxes)
            size = (box[2:] - box[:2]).max()
            centres = (boxes[:, :2] + boxes[:, 2:]) / 2
            assert ((centres > box[:2]) & (centres < box[2:])).all(1).sum() == 1, name
            assert abs(np.log((boxes[0, 2] - boxes[0, 0]) / size)) < 0.3, name
            far.append(np.abs((boxes[0, :2] + boxes[0, 2:]) / 2 - (box[:2] + box[2:]) / 2).max() / size)
    assert max(far) < 0.15
    assert np.median(far) < 0.05


BOXES = [
    # x0, y0, x1, y1 and score of each                                   which remain, best first
    ([(0, 0, 100, 100, 0.6), (20, 20, 60, 60, 0.9)], [1]),  # one inside the other
    ([(0, 0, 100, 100, 0.9), (20, 20, 60, 60, 0.6)], [0]),
    ([(0, 0, 100, 100, 0.9), (80, 0, 120, 40, 0.6)], [0, 1]),  # half of the small one outside
    ([(0, 0, 100, 100, 0.6), (40, 0, 140, 100, 0.9)], [1]),  # union overlap 0.43
    ([(0, 0, 100, 100, 0.6), (60, 0, 160, 100, 0.9)], [1, 0]),  # union overlap 0.25
    ([], []),
]


@pytest.mark.parametrize(("rows", "remain"), BOXES)
def test_suppression(rows, remain):
    table = np.array(rows, np.float32).reshape(-1, 5)
    assert _suppress(table[:, :4], table[:, 4]).tolist() == remain


def test_a_pickled_detector_finds_the_same(astronaut):
    detector = CenterFace(threshold=0.5, min_face=40, engine="opencv", threads=1)
    again = pickle.loads(pickle.dumps(detector))
    assert (again.threshold, again.min_face, again.network.name, again.threads) == (0.5, 40, "opencv", 1)
    np.testing.assert_array_equal(again(astronaut).boxes, detector(astronaut).boxes)


SCALES = [
    # min_face, longer side of the image, longer side of the input
    (None, 640, 400),
    (None, 1536, 960),
    (None, 8000, 960),
    (None, 100, 320),
    (20, 640, 640),
    (40, 3000, 1500),
    (10, 640, 1280),
    (500, 640, 320),
]


@pytest.mark.parametrize(("min_face", "side", "input_side"), SCALES)
def test_the_smallest_wanted_face_decides_about_the_scale(monkeypatch, min_face, side, input_side):
    seen = []

    def network(image):
        seen.append(image.shape)
        return tuple(np.zeros((n, image.shape[0] // 4, image.shape[1] // 4), np.float32) for n in (1, 2, 2, 10))

    detector = CenterFace(min_face=min_face, engine="opencv")
    detector.network = network
    detector(np.zeros((side // 2, side, 3), np.uint8))
    assert seen[0][1] == -(-input_side // 32) * 32


def test_smaller_wanted_faces_are_found(astronaut):
    face = cv2.resize(astronaut[20:220, 120:320], (48, 48), interpolation=cv2.INTER_AREA)
    canvas = np.full((480, 640, 3), 127, np.uint8)
    canvas[200:248, 300:348] = face
    assert len(CenterFace(min_face=20)(canvas).boxes) == 1
    assert len(CenterFace(min_face=200)(canvas).boxes) == 0


WRONG = [
    ({"min_face": 3}, "the smallest face that can be found has 10 pixels, got 3"),
    ({"min_face": float("nan")}, "got nan"),
    ({"engine": "tensorrt"}, "unknown engine 'tensorrt' of the detector; choose from auto, onnxruntime, opencv"),
]


@pytest.mark.parametrize(("arguments", "message"), WRONG)
def test_wrong_settings_are_one_line(arguments, message):
    with pytest.raises(UserError, match=message) as caught:
        CenterFace(**arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("roll", [-60, 0, 45, 90])
def test_points_follow_the_rotation_of_the_photo(detector, astronaut, roll):
    turned, _ = rotate_image(astronaut, -roll)
    points = detector(turned).points5[0]
    x, y = points[3:].mean(0) - points[:2].mean(0)
    assert np.degrees(np.arctan2(-x, y)) == pytest.approx(roll, abs=30)
