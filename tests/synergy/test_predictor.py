import pickle
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.spatial.transform import Rotation

from bfm_assets import open_face
from synergy.crop import square_crop, transform_points
from synergy.detect import Detection
from synergy.engines import CropPredictions
from synergy.errors import UserError
from synergy.faces import Faces
from synergy.images import read_image
from synergy.landmarks import FLIP68
from synergy.mirror import mirror_landmarks, mirror_pose, mirror_rotation_covariance
from synergy.models import SynergyNet
from synergy.predictor import FacePredictor
from synergy.weights import save_weights

BOX = [40.0, 30.0, 120.0, 110.0]


class FixedDetector:
    """Finds the same two faces everywhere."""

    def __call__(self, image):
        return Detection(np.array([BOX, [10, 10, 60, 70]], np.float32), np.array([0.9, 0.6], np.float32))

    def crop_box(self, boxes):
        return boxes + np.array([0, 5, 0, 5], np.float32)


@pytest.fixture
def predictor(small_net):
    return FacePredictor(small_net, FixedDetector())


@pytest.fixture
def images():
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, shape, dtype=np.uint8) for shape in [(150, 160, 3), (200, 140, 3), (150, 160, 3)]]


def test_a_face_has_everything_in_image_pixels(predictor, images):
    face = predictor(images[0], boxes=[BOX])[0]
    np.testing.assert_array_equal(face.box, np.array(BOX, np.float32))
    assert face.landmarks68.shape == (68, 3)
    assert face.landmarks68.dtype == np.float32
    np.testing.assert_allclose(face.crop, square_crop(np.array(BOX), 120))
    crop_landmarks, params, *_ = predictor.predict_crops(_crop(face, images[0])[None])
    np.testing.assert_allclose(transform_points(face.crop, face.landmarks68), crop_landmarks[0], atol=1e-2)
    np.testing.assert_allclose(face.params, params[0], atol=1e-4)


def _crop(face, image):
    from synergy.crop import warp

    return warp(image, face.crop, face.crop_size)


def test_the_network_may_be_a_name_or_a_file(small_net, images, tmp_path):
    save_weights(small_net, tmp_path / "own.safetensors", {}, open_face())
    by_network = FacePredictor(small_net, FixedDetector())(images[0], boxes=[BOX])
    for file in (tmp_path / "own.safetensors", str(tmp_path / "own.safetensors")):
        by_file = FacePredictor(file, FixedDetector())(images[0], boxes=[BOX])
        np.testing.assert_allclose(by_file.landmarks68, by_network.landmarks68, atol=1e-3)
    assert FacePredictor("synergynet_small").net.model_id == "synergynet_small"
    with pytest.raises(UserError, match="nothing") as caught:
        FacePredictor("nothing")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"device": "toaster"}, "device 'toaster' cannot be used"),
        ({"batch_size": 0}, "at least 1 crop"),
        ({"threads": 0}, "at least 1 thread"),
        ({"engine": "steam"}, "unknown engine 'steam'"),
        ({"roll": "over"}, "unknown roll 'over'"),
        ({"min_confidence": 50}, r"a probability in 0\.\.1, got 50"),
    ],
)
def test_options_that_cannot_be_used_are_one_line(small_net, options, message):
    with pytest.raises(UserError, match=message) as caught:
        FacePredictor(small_net, **options)
    assert "\n" not in str(caught.value)


def test_one_unknown_landmark_changes_little(small_net, images):
    predictor = FacePredictor(small_net, FixedDetector())
    landmarks = predictor(images[0], boxes=[BOX]).landmarks68
    whole = predictor(images[0], landmarks=landmarks)
    landmarks[:, 37] = np.nan
    part = predictor(images[0], landmarks=landmarks)
    np.testing.assert_allclose(part.landmarks68, whole.landmarks68, atol=1e-2)


def test_a_device_may_be_an_object_of_torch(small_net):
    predictor = FacePredictor(small_net, device=torch.device("cpu"))
    assert predictor.engine.name == FacePredictor(small_net).engine.name


@pytest.mark.parametrize("image", ["photo.jpg", np.zeros((9, 9, 3), np.uint8), Image.new("L", (9, 9))], ids=type)
def test_one_image_is_no_batch(predictor, image):
    with pytest.raises(ValueError, match="takes a sequence of images"):
        predictor.predict_batch(image)


def test_a_name_is_no_detector(small_net):
    with pytest.raises(TypeError, match=r"a detector is an object such as CenterFace\(\), got str"):
        FacePredictor(small_net, detector="retinaface")


def test_the_number_of_threads_is_also_that_of_the_default_detector(small_net):
    assert FacePredictor(small_net, threads=3).detector.threads == 3


def test_threads_that_begin_together_share_one_detector(small_net, monkeypatch):
    made = []

    def make(**options):
        made.append(options)
        time.sleep(0.05)
        return FixedDetector()

    monkeypatch.setattr("synergy.predictor.CenterFace", make)
    predictor = FacePredictor(small_net)
    with ThreadPoolExecutor(4) as pool:
        detectors = set(pool.map(lambda _: predictor.detector, range(4)))
    assert len(made) == len(detectors) == 1


def test_a_predictor_is_shown_with_its_settings():
    shown = "FacePredictor('synergynet_small', engine='torch', device='cpu', threads=None, roll='any', mirror=False)"
    assert repr(FacePredictor("synergynet_small", engine="torch", roll="any")) == shown


def test_errors_of_given_faces_name_the_image(predictor, images):
    with pytest.raises(ValueError, match=r"^image 1: boxes are \(K, 4\)"):
        predictor.predict_batch(images, boxes=[[BOX], None, []])
    with pytest.raises(ValueError, match=r"^image 2: a face needs at least two finite landmarks"):
        predictor.predict_batch(images, landmarks=[[], [], [[[np.nan, 1]]]])
    with pytest.raises(ValueError, match=r"^box \[0\.1, 0\.2, 0\.5, 0\.7\] is smaller than a pixel"):
        predictor(images[0], boxes=[[0.1, 0.2, 0.5, 0.7]])


def test_faces_are_shown_in_a_few_words(predictor, images):
    shown = repr(predictor(images[0]))
    assert "yaw=" in shown
    assert "score=" in shown
    assert "\n" not in shown
    assert len(shown) < 300 * 2


def test_batching_over_images_and_faces_changes_nothing(predictor, images, small_net):
    together = predictor.predict_batch(images)
    assert [len(faces) for faces in together] == [2, 2, 2]
    one_by_one = FacePredictor(small_net, FixedDetector(), batch_size=1)
    for image, faces in zip(images, together, strict=True):
        for face, alone in zip(faces, one_by_one(image), strict=True):
            np.testing.assert_allclose(face.landmarks68, alone.landmarks68, atol=1e-2)
            assert face.score == alone.score


def test_the_detectors_box_is_reported_and_its_landmark_box_cropped(predictor, images):
    face = predictor(images[0])[0]
    assert face.box.tolist() == BOX
    np.testing.assert_allclose(face.crop, square_crop(np.array([40.0, 35, 120, 115]), 120))


def test_landmarks_stand_for_their_box(predictor, images):
    points = np.array([[40, 30], [120, 70], [80, 110], [np.nan, np.nan]], np.float32)
    given, boxed = predictor(images[0], landmarks=[points])[0], predictor(images[0], boxes=[BOX])[0]
    np.testing.assert_array_equal(given.landmarks68, boxed.landmarks68)


def test_scaling_the_image_scales_the_face(predictor):
    """Equivariance: the same picture twice as large gives landmarks twice as far apart and the same pose."""
    y, x = np.mgrid[:200, :200] / 200
    small = (127 + 120 * np.stack([np.sin(9 * x + y), np.cos(7 * y), np.sin(5 * x * y)], -1)).astype(np.uint8)
    large = small.repeat(2, 0).repeat(2, 1)
    a = predictor(small, boxes=[BOX])[0]
    b = predictor(large, boxes=[np.array(BOX) * 2 + 0.5])[0]
    np.testing.assert_allclose(b.landmarks68[:, :2], a.landmarks68[:, :2] * 2 + 0.5, atol=0.5)
    np.testing.assert_allclose(b.pose.matrix, a.pose.matrix, atol=1e-2)
    assert b.pose.scale == pytest.approx(a.pose.scale * 2, rel=1e-2)


def test_no_face_and_no_image(predictor, images):
    assert len(predictor(images[0], boxes=[])) == 0
    assert predictor.predict_batch([]) == []


@pytest.mark.parametrize("size", [(1, 1), (5, 3), (2, 400)])
def test_tiny_images(predictor, size):
    image = np.full((*size, 3), 128, np.uint8)
    face = predictor(image, boxes=[[0, 0, size[1], size[0]]])[0]
    assert np.isfinite(face.landmarks68).all()


WRONG = [
    # boxes                        landmarks                     what is said
    ([[0, 0, 10]], None, r"boxes are \(K, 4\)"),
    ([[50, 50, 40, 60]], None, "has no area"),
    ([[500, 500, 600, 600]], None, "lies outside the 160x150 image"),
    ([[0, 0, np.nan, 5]], None, "is not finite"),
    ([[0, 0, 1e7, 5]], None, "has coordinates beyond 1e[+]06 pixels"),
    (None, np.where(np.arange(68)[None, :, None] < 67, [50.0, 60.0], 1e30), "has coordinates beyond"),
    (None, np.where(np.arange(68)[None, :, None] < 67, [50.0, 60.0], np.inf), "is not finite"),
    (None, np.full((1, 68, 2), np.nan), "at least two finite landmarks"),
    (None, [[[1, 2, 3, 4]]], r"landmarks are \(K, N, 2 or 3\)"),
    (None, [[[1, 2], [3, 4]], [[1, 2], [3, 4], [5, 6]]], "the same N for all faces"),
    (None, [[[np.nan, np.nan], [1, 1]]], "at least two finite landmarks"),
    (None, [[[5, 5], [5, 5]]], "has no area"),
    ([BOX], [[[1, 2], [3, 4]]], "give boxes or landmarks, not both"),
]


@pytest.mark.parametrize(("boxes", "landmarks", "message"), WRONG)
def test_bad_input_is_one_clear_line(predictor, images, boxes, landmarks, message):
    with pytest.raises(ValueError, match=message) as caught:
        predictor(images[0], boxes=boxes, landmarks=landmarks)
    assert "\n" not in str(caught.value)


def test_counts_must_match(predictor, images):
    with pytest.raises(ValueError, match="3 images but boxes for 1"):
        predictor.predict_batch(images, boxes=[[BOX]])


def test_arrays_that_are_not_images(predictor):
    with pytest.raises(ValueError, match="got float64"):
        predictor(np.zeros((10, 10, 3)))


@pytest.fixture
def uncertain_net():
    """An untrained network with uncertainty heads whose outputs depend on the image."""
    torch.manual_seed(0)
    net = SynergyNet(open_face(), width=0.25, uncertainty=True).eval()
    net.set_whitening(torch.randn_like(net.param_mean), torch.rand_like(net.param_std))
    torch.nn.init.normal_(net.uncertainty.out.weight, std=0.2)
    torch.nn.init.normal_(net.uncertainty.out.bias)
    return net


def test_the_mean_with_the_mirror_image_turns_with_the_image(uncertain_net):
    """Whatever the network, and exactly so for a symmetric morphable model."""
    crops = np.random.default_rng(0).integers(0, 256, (3, 120, 120, 3), dtype=np.uint8)
    predictor = FacePredictor(uncertain_net, mirror=True)
    landmarks, params, std, covariance, confidence = map(torch.from_numpy, predictor.predict_crops(crops))
    other = CropPredictions(*map(torch.from_numpy, predictor.predict_crops(crops[:, :, ::-1].copy())))
    torch.testing.assert_close(mirror_landmarks(other.landmarks, 120), landmarks, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(mirror_pose(other.params[:, :12], 120), params[:, :12], atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(other.landmark_std[:, FLIP68.tolist()], std)
    torch.testing.assert_close(other.confidence, confidence)
    # A mirrored rotation D R D has the rotation vector (x, -y, -z).
    torch.testing.assert_close(mirror_rotation_covariance(other.rotation_covariance), covariance)
    plain = FacePredictor(uncertain_net).predict_crops(crops)
    assert np.abs(plain.landmarks - landmarks.numpy()).max() > 1
    assert np.abs(plain.landmark_std - std.numpy()).max() > 1e-3


def test_the_mirrored_rotation_vector_has_the_mirrored_covariance():
    vectors = torch.randn(500, 3, dtype=torch.float64) * 0.3
    mirror = torch.diag(torch.tensor([-1.0, 1.0, 1.0], dtype=torch.float64))
    rotations = Rotation.from_rotvec(vectors.numpy()).as_matrix()
    mirrored = torch.from_numpy(Rotation.from_matrix(mirror.numpy() @ rotations @ mirror.numpy()).as_rotvec())
    torch.testing.assert_close(mirror_rotation_covariance(vectors.T.cov()[None])[0], mirrored.T.cov())


def test_standard_deviations_scale_with_the_crop(uncertain_net, images):
    predictor = FacePredictor(uncertain_net, roll="upright")
    small = predictor(images[0], boxes=[[60, 60, 80, 80]])[0]
    enlarged = np.repeat(np.repeat(images[0], 2, 0), 2, 1)
    large = predictor(enlarged, boxes=[[120.5, 120.5, 160.5, 160.5]])[0]
    in_crop = predictor.predict_crops(np.stack([_crop(small, images[0])])).landmark_std[0]
    np.testing.assert_allclose(small.landmarks68_std * 120 / (20 * 2**0.5), in_crop, rtol=1e-4)
    np.testing.assert_allclose(large.landmarks68_std, 2 * small.landmarks68_std, rtol=0.2)
    assert np.linalg.eigvalsh(small.rotation_covariance).min() > 0
    assert 0 < small.confidence < 1


def test_faces_of_low_confidence_are_removed_and_counted(uncertain_net, images, monkeypatch):
    predict = FacePredictor.predict_crops

    def with_confidence(self, crops):
        return predict(self, crops)._replace(confidence=np.array([0.4, 0.6], np.float32)[: len(crops)])

    monkeypatch.setattr(FacePredictor, "predict_crops", with_confidence)
    options = {"roll": "upright", "detector": FixedDetector()}
    everything = FacePredictor(uncertain_net, **options, min_confidence=0)(images[0])
    assert (len(everything), everything.n_removed) == (2, 0)
    faces = FacePredictor(uncertain_net, **options, min_confidence=0.5)(images[0])
    assert (len(faces), faces.n_removed) == (1, 1)
    assert faces[0].confidence == pytest.approx(0.6)
    given = FacePredictor(uncertain_net, **options, min_confidence=1)(images[0], boxes=[BOX])
    assert (len(given), given.n_removed) == (1, 0)


def test_nothing_is_removed_where_the_confidence_is_unknown(small_net, images):
    faces = FacePredictor(small_net, detector=FixedDetector(), min_confidence=1)(images[0])
    assert (len(faces), faces.n_removed) == (2, 0)


def test_weights_without_uncertainty_leave_it_unknown(predictor, images):
    faces = predictor(images[0], boxes=[BOX])
    assert faces[0].landmarks68_std is faces[0].rotation_covariance is faces[0].confidence is None
    assert np.isnan(faces.confidence).all()
    assert faces.landmarks68_std.shape == (1, 68)
    assert faces.to_dict()["faces"][0]["confidence"] is None


@pytest.fixture(scope="module")
def astronaut():
    """A public-domain photo of one person (Eileen Collins, NASA), which scikit-image carries."""
    return str(files("skimage") / "data" / "astronaut.png")


def test_paths_pil_images_and_arrays_give_the_same_faces(predictor, images, tmp_path):
    Image.fromarray(images[0]).save(tmp_path / "photo.png")
    expected = predictor(images[0])
    for source in (str(tmp_path / "photo.png"), tmp_path / "photo.png", Image.fromarray(images[0])):
        np.testing.assert_array_equal(predictor(source).landmarks68, expected.landmarks68)
    assert isinstance(expected, Faces)
    with pytest.raises(UserError, match=r"gone\.jpg: no such file"):
        predictor("gone.jpg")


def test_eight_threads_give_the_serial_results(small_net, astronaut):
    """Images of several sizes, so that the detector's network changes its buffers between calls."""
    predictor = FacePredictor(small_net, mirror=True)
    photo = read_image(astronaut)
    pictures = [photo, photo[:, ::-1].copy(), photo[:300], photo[::2, ::2].copy(), photo[:, 60:], np.zeros_like(photo)]
    serial = [predictor(picture) for picture in pictures]
    assert [len(faces) for faces in serial] == [1, 1, 1, 1, 1, 0]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(predictor, pictures * 4))
    for faces, expected in zip(together, serial * 4, strict=True):
        np.testing.assert_allclose(faces.boxes, expected.boxes, atol=1e-3)
        np.testing.assert_allclose(faces.landmarks68, expected.landmarks68, atol=1e-2)


def test_predictors_and_their_faces_pickle(small_net, astronaut):
    predictor = FacePredictor(small_net, mirror=True)
    faces = predictor(astronaut)
    again = pickle.loads(pickle.dumps(predictor))
    np.testing.assert_allclose(again(astronaut).landmarks68, faces.landmarks68, atol=1e-3)
    assert len(pickle.dumps(faces)) < 6000
