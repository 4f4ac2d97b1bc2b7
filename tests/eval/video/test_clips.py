import numpy as np
import pytest
import torch

from bfm_assets import open_face
from eval.video.benchmark import _compare_motion, _only_faces, compare
from eval.video.clips import RATE, Cutout, crossing_clip, crossing_clips, cut_out, motion_clips, rendered_photo
from synergy.crop import transform_points
from synergy.demo import demo_photo
from synergy.errors import UserError
from synergy.networks import build_network
from synergy.predictor import FacePredictor


@pytest.fixture(scope="module")
def predictor():
    return FacePredictor()


@pytest.fixture(scope="module")
def photo():
    pytest.importorskip("skimage")
    return demo_photo()


def test_the_motion_of_a_clip_is_where_its_face_is(predictor, photo):
    still = predictor(photo)[0].landmarks68[:, :2]
    clips = motion_clips(photo, predictor, 20)
    assert len(clips) == 5
    for clip in clips:
        frame = list(clip)[12]
        expected = transform_points(frame.motion, still)
        found = predictor(frame.image, landmarks=[expected])[0].landmarks68[:, :2]
        assert np.abs(found - expected).mean() < 1.5, clip.name


def test_people_who_cross_are_where_the_clip_says(predictor, photo):
    people = [cut_out(photo, predictor), cut_out(rendered_photo(1), predictor)]
    clip = crossing_clip(*people, 320.0, 10.0, "")
    frames = list(clip)
    first, middle, last = frames[0], frames[len(frames) // 2], frames[-1]
    assert first.centres[0, 0] < 320 < first.centres[1, 0]
    assert last.centres[0, 0] > 320 > last.centres[1, 0]
    assert np.isfinite(middle.centres[0]).all()
    assert np.isnan(middle.centres[1]).all()
    found = predictor(first.image).landmarks68[..., :2].mean(1)
    distances = np.linalg.norm(found[:, None] - first.centres, axis=-1)
    assert distances.min(0).max() < 12
    assert len(crossing_clips(people)) == 6
    assert len(crossing_clips([*people, people[0]])) == 18


@pytest.mark.parametrize("pause", [0.0, 1.0])
def test_people_who_turn_back_stay_on_their_sides(pause):
    """The clip is made without a predictor: a head is a plain square."""
    head = Cutout(np.full((80, 80, 3), 200, np.uint8), np.ones((80, 80)), np.array([40.0, 40.0]))
    frames = list(crossing_clip(head, head, 160.0, 0.0, "", turns_back=True, pause=pause))
    front, back = np.array([frame.centres for frame in frames])[..., 0].T
    assert (front < 320).all()
    assert (back[np.isfinite(back)] > 320).all()
    assert front.max() > 310
    assert abs(front[-1] - front[0]) < 10
    # The one in front covers the other one at the turn.
    assert np.isnan(back[len(back) // 2])
    assert abs(len(frames) - (2 * (320 - 80) / 160 + pause) * RATE) <= 1
    assert np.isnan(back).sum() >= pause * RATE


def test_a_photo_without_a_face_is_one_line(predictor):
    with pytest.raises(UserError, match="no face was found in a photo"):
        cut_out(np.zeros((60, 60, 3), np.uint8), predictor)


def test_a_model_of_landmarks_has_no_jitter_of_the_mesh(predictor, photo):
    torch.manual_seed(0)
    net = build_network("direct", open_face().landmark_model(), width=0.25, size=64).eval()
    still = motion_clips(photo, predictor, 20)[0]
    names = [figure.name for figure in _compare_motion(still, FacePredictor(net, predictor.detector))]
    assert names == ["jitter of the landmarks, at rest", "jitter of the rotation, at rest"]


def test_a_clip_of_one_face_needs_one(predictor):
    frames = [predictor(np.zeros((60, 60, 3), np.uint8))] * 2
    with pytest.raises(UserError, match="no face was found in 2 of 2 frames"):
        _only_faces(frames)


@pytest.mark.slow
def test_tracking_reaches_its_targets(predictor):
    figures = {figure.name: figure for figure in compare(predictor, n_frames=60)}
    for name, figure in figures.items():
        if name.startswith("jitter"):
            assert figure.after < figure.before / 5, name
        elif name.startswith("lag"):
            assert figure.after < 1, name
        elif name.startswith("switched"):
            assert figure.after == 0
            assert figure.before > 0
        elif name.startswith("people"):
            assert figure.after <= figure.before + 1
        elif name.startswith("processor"):
            assert figure.after < figure.before / 2
