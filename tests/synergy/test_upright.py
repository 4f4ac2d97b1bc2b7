from importlib.resources import files

import numpy as np
import pytest

from synergy.crop import compose_affine, invert_affine, square_crop, transform_points
from synergy.detect import CenterFace, Detection
from synergy.engines import CropPredictions
from synergy.errors import UserError
from synergy.geometry import geodesic_angle, torch
from synergy.images import read_image
from synergy.predictor import FacePredictor
from synergy.upright import (
    MAX_SHAPE_DISTANCE,
    MAX_UPRIGHT_ROLL_DEG,
    five_points,
    order_orientations,
    predict_upright,
    rotate_crop,
    rotate_image,
    shape_distance,
    up_angles,
    upright_crops,
)


@pytest.fixture(scope="module")
def astronaut():
    return read_image(str(files("skimage") / "data" / "astronaut.png"))


@pytest.fixture(scope="module")
def predictors():
    return {roll: FacePredictor(roll=roll) for roll in ("auto", "any")}


def pose(degrees):
    """Parameters of a frontal face whose head leans to the image's right."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([c, s, 0, 60, -s, c, 0, 60, 0, 0, 1, 0], np.float32)


@pytest.mark.parametrize("degrees", [-170, -90, 0, 30, 179])
def test_up_angles(degrees):
    assert up_angles(pose(degrees)[None])[0] == pytest.approx(degrees, abs=1e-3)


def test_crops_rotate_anticlockwise_about_their_middle():
    crop = square_crop(np.array([[10.0, 10, 50, 50]]), 120)
    up = transform_points(invert_affine(crop), np.array([[[59.5, 0], [59.5, 59.5]]]))
    turned = transform_points(rotate_crop(crop, 90, 120), up)
    np.testing.assert_allclose(turned, [[[0, 59.5], [59.5, 59.5]]], atol=1e-9)


def test_upright_crops_are_those_of_the_upright_points():
    rng = np.random.default_rng(0)
    points = rng.uniform(20, 100, (1, 68, 2))
    first = square_crop(np.array([[10.0, 10, 110, 110]]), 120)
    in_image = transform_points(invert_affine(first), points)
    leaning = rotate_crop(first, -75, 120)  # the head then leans by 75 degrees to the right
    in_leaning = transform_points(leaning, in_image).astype(np.float32)
    upright = upright_crops(leaning, in_leaning, np.array([75.0]), 120)
    found = transform_points(upright, in_image)
    middle = (found.max(1) + found.min(1)) / 2
    np.testing.assert_allclose(middle, [[59.5, 59.5]], atol=1e-4)
    assert np.ptp(found, axis=1).max() == pytest.approx(120 / 2**0.5, abs=1e-3)
    # No rotation is left between the first crop and this one.
    relative = compose_affine(upright, invert_affine(first))[0, :, :2]
    assert relative[0, 1] == pytest.approx(0, abs=1e-9)
    assert relative[0, 0] > 0


def test_the_orientation_that_agrees_with_both_neighbours_is_the_first():
    truth = np.random.default_rng(0).uniform(0, 100, (1, 68, 2))
    for best in range(4):
        points = np.repeat(truth[:, None], 4, 1)
        points[:, (best + 2) % 4] = 100 - truth
        points[:, (best + 1) % 4] += 3
        points[:, (best - 1) % 4] -= 3
        assert order_orientations(points)[0, 0] == best
        assert sorted(order_orientations(points)[0]) == [0, 1, 2, 3]


def turns(affine):
    """Angles (N,) in degrees by which crops (N, 2, 3) are rotated."""
    return np.degrees(np.arctan2(affine[:, 0, 1], affine[:, 0, 0]))


def between_half_turns(degrees):
    return (degrees + 180) % 360 - 180


class Clock:
    """A network that sees the rotation of its crop exactly, but only within 90 degrees, and counts its crops."""

    def __init__(self, degrees):
        self.degrees, self.count = np.asarray(degrees, float), 0
        self.points = np.random.default_rng(0).uniform(-30, 30, (68, 2))

    def __call__(self, rows, affine):
        self.count += len(rows)
        angle = between_half_turns(self.degrees[rows] - turns(affine))
        angle = np.where(np.abs(angle) <= 100, angle, angle * 0.1)
        c, s = np.cos(np.radians(angle)), np.sin(np.radians(angle))
        turned = self.points @ np.stack([np.stack([c, s], -1), np.stack([-s, c], -1)], -2)
        landmarks = np.concatenate([turned + 59.5, np.zeros((len(rows), 68, 1))], -1).astype(np.float32)
        return CropPredictions(landmarks, np.stack([pose(a) for a in angle]))


@pytest.mark.parametrize("search_unknown", [True, False])
def test_faces_end_in_upright_crops(search_unknown):
    degrees = np.arange(-180, 180, 15) if search_unknown else np.arange(-90, 91, 15)
    network = Clock(degrees)
    affine = np.repeat(square_crop(np.array([[10.0, 10, 110, 110]]), 120), len(degrees), 0)
    unknown = np.full((len(degrees), 5, 2), np.nan)
    found, predicted = predict_upright(network, affine, unknown, 120, search_unknown=search_unknown)
    left = up_angles(predicted.params)
    assert np.abs(left).max() <= MAX_UPRIGHT_ROLL_DEG + 0.01
    np.testing.assert_allclose(between_half_turns(turns(found) + left - degrees), 0, atol=1e-3)
    assert network.count <= len(degrees) * (6 if search_unknown else 3)


class Unsure(Clock):
    """A network that takes every crop for an upright face, with a confidence that shows which one is upright."""

    def __call__(self, rows, affine):
        error = np.abs(between_half_turns(self.degrees[rows] - turns(affine)))
        landmarks = np.repeat(np.c_[self.points + 59.5, np.zeros(68)][None], len(rows), 0).astype(np.float32)
        params = np.repeat(pose(0)[None], len(rows), 0)
        return CropPredictions(landmarks, params, confidence=(0.9 - error / 200).astype(np.float32))


def test_of_unlikely_orientations_the_most_confident_one_is_taken():
    degrees = np.array([0.0, 90, 180, -90])
    affine = np.repeat(square_crop(np.array([[10.0, 10, 110, 110]]), 120), 4, 0)
    unknown = np.full((4, 5, 2), np.nan)
    found, predicted = predict_upright(Unsure(degrees), affine, unknown, 120, search_unknown=True)
    np.testing.assert_allclose(predicted.confidence, 0.9, atol=1e-6)
    np.testing.assert_allclose(between_half_turns(turns(found) - degrees), 0, atol=1e-6)


@pytest.mark.parametrize(("degrees", "is_different"), [(0, False), (15, False), (60, True), (90, True), (180, True)])
def test_points_of_another_orientation_have_another_shape(degrees, is_different):
    landmarks = np.random.default_rng(0).uniform(40, 80, (1, 68, 3))
    points = five_points(landmarks)
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    distance = shape_distance(3 * points @ np.array([[c, s], [-s, c]]) + 7, landmarks)[0]
    assert (distance > MAX_SHAPE_DISTANCE) == is_different
    if not degrees:
        assert distance == pytest.approx(0, abs=1e-6)


def test_upright_faces_are_predicted_once():
    network = Clock(np.array([0.0, 12.0, -19.0]))
    affine = np.repeat(square_crop(np.array([[10.0, 10, 110, 110]]), 120), 3, 0)
    assert np.array_equal(predict_upright(network, affine, np.full((3, 5, 2), np.nan), 120)[0], affine)
    assert network.count == 3


def test_rotated_images_show_all_of_the_image():
    image = np.full((40, 60, 3), 200, np.uint8)
    turned, affine = rotate_image(image, 90)
    assert turned.shape == (60, 40, 3)
    assert (turned == 200).all()
    np.testing.assert_allclose(transform_points(affine, np.array([[59.0, 0.0]])), [[0, 0]], atol=1e-6)
    corners = transform_points(rotate_image(image, 33)[1], np.array([[0.0, 0], [59, 0], [0, 39], [59, 39]]))
    height, width = rotate_image(image, 33)[0].shape[:2]
    assert (corners >= -1e-6).all()
    assert (corners <= [width - 1, height - 1]).all()


def test_a_wrong_roll_is_refused():
    with pytest.raises(UserError, match="unknown roll 'all'; choose from auto, any, upright"):
        FacePredictor(roll="all")


@pytest.mark.parametrize("roll", ["auto", "any"])
@pytest.mark.parametrize("degrees", [60, -90, 150, 180])
def test_rotating_the_photo_rotates_the_result(astronaut, predictors, roll, degrees):
    """Landmarks, mesh, pose matrix and the roll over the full circle; with the detector, and with a given box."""
    predictor = predictors[roll]
    (face,) = predictor(astronaut)
    turned, affine = rotate_image(astronaut, -degrees)
    if roll == "auto":
        found = predictor(turned)
        assert len(found) == 1
    else:
        points = transform_points(affine, face.landmarks68)
        found = predictor(turned, landmarks=[points])
    (other,) = found
    size = np.ptp(face.landmarks68[:, :2], axis=0).max()
    assert np.abs(transform_points(affine, face.landmarks68) - other.landmarks68)[:, :2].mean() < 0.03 * size
    assert np.abs(transform_points(affine, face.vertices()) - other.vertices()).mean() < 0.05 * size
    np.testing.assert_allclose(other.vertices()[other.morphable_model.landmarks], other.landmarks68, atol=0.1 * size)
    assert between_half_turns(other.pose.roll - face.pose.roll - degrees) == pytest.approx(0, abs=12)
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    expected = torch.from_numpy(np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]]) @ face.pose.matrix)
    angle = geodesic_angle(expected, torch.from_numpy(other.pose.matrix).double())
    assert float(angle) < np.radians(8)
    assert other.pose.scale == pytest.approx(face.pose.scale, rel=0.08)


class Upright:
    """A detector that finds the astronaut only if it is upright."""

    def __init__(self):
        self.detector, self.calls = CenterFace(), 0

    def __call__(self, image):
        self.calls += 1
        found = self.detector(image)
        x, y = (found.points5[:, 3:].mean(1) - found.points5[:, :2].mean(1)).T
        keep = np.abs(np.degrees(np.arctan2(-x, y))) < 40
        return Detection(found.boxes[keep], found.scores[keep], found.points5[keep])

    def crop_box(self, boxes):
        return self.detector.crop_box(boxes)


@pytest.mark.parametrize("roll", ["auto", "any"])
def test_given_landmarks_of_a_lying_face_need_one_prediction(astronaut, predictors, roll, monkeypatch):
    predictor = predictors[roll]
    upright = predictors["auto"](astronaut).landmarks68
    turned, affine = rotate_image(astronaut, -90)
    given = transform_points(affine, upright)
    counts = []
    predict_crops = predictor.predict_crops
    monkeypatch.setattr(predictor, "predict_crops", lambda crops: counts.append(len(crops)) or predict_crops(crops))
    (face,) = predictor(turned, landmarks=given)
    assert counts == [1]
    assert np.linalg.norm(face.landmarks68 - given, axis=-1).mean() < 0.03 * np.ptp(given[..., 1])
    # Landmarks that contradict the picture do not decide.
    monkeypatch.undo()
    (face,) = predictor(turned, landmarks=given[:, ::-1] * [1, 1, 0])
    assert np.linalg.norm((face.landmarks68 - given)[..., :2], axis=-1).mean() < 0.05 * np.ptp(given[..., 1])


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_any_searches_the_rotated_photo_where_nothing_is_found(astronaut, degrees):
    detector = Upright()
    predictor = FacePredictor(detector=detector, roll="any")
    (face,) = predictor(astronaut)
    turned, affine = rotate_image(astronaut, degrees)
    detector.calls = 0
    (other,) = predictor(turned)
    assert 1 < detector.calls <= 4
    size = np.ptp(face.landmarks68[:, :2], axis=0).max()
    assert np.abs(transform_points(affine, face.landmarks68) - other.landmarks68)[:, :2].mean() < 0.04 * size
    corners = transform_points(affine, face.box.reshape(2, 2).astype(float))
    np.testing.assert_allclose(np.sort(corners, 0).ravel(), other.box, atol=0.12 * size)
