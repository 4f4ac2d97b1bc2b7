from dataclasses import replace

import numpy as np
import pytest

from synergy.tracking import VideoPredictor

RATE = 30


def run(world, seconds=3.0, **options):
    """Return per frame the centre of each visible person's face by id."""
    tracker = VideoPredictor(world, fps=RATE, **options)
    frames = []
    for i in range(round(seconds * RATE)):
        faces = tracker(world.frame(i / RATE), i / RATE)
        frames.append({face.track_id: face.landmarks68[:, :2].mean(0) for face in faces})
    return frames


def owner(world, centre, seconds):
    """Return the index of the person who is at a place."""
    places = [person.path(seconds) for person in world.people]
    distances = [np.inf if place is None else np.linalg.norm(np.subtract(place, centre)) for place in places]
    return int(np.argmin(distances))


def ids_of(world, frames):
    """Return the ids that each person had."""
    ids = [set() for _ in world.people]
    for i, frame in enumerate(frames):
        for number, centre in frame.items():
            ids[owner(world, centre, i / RATE)].add(number)
    return ids


def test_one_person_keeps_one_id_and_the_detector_runs_rarely(person, make_world):
    world = make_world([person(0, lambda t: (150 + 60 * t, 180))], noise=0.3)
    frames = run(world, detect_every=10)
    assert all(list(frame) == [1] for frame in frames)
    assert world.n_detections == len(frames) / 10


CROSSINGS = [
    # speed in pixels per second, vertical distance, face that is in front
    (80, 0, 0),
    (80, 0, 1),
    (160, 10, 0),
    (160, 25, 1),
    (300, 0, 0),
]


@pytest.mark.parametrize(("speed", "height", "front"), CROSSINGS)
def test_two_people_who_cross_keep_their_ids(person, speed, height, front, make_world):
    start = 320 - speed * 1.5
    people = [
        person(1, lambda t: (start + speed * t, 180), (220, 170, 140)),
        person(2, lambda t: (640 - start - speed * t, 180 + height), (90, 120, 200)),
    ]
    world = make_world(people if front == 0 else people[::-1], noise=0.3)
    frames = run(world)
    ids = ids_of(world, [frame if abs(i / RATE - 1.5) > 0.1 else {} for i, frame in enumerate(frames)])
    assert sorted(map(len, ids)) == [1, 1]
    assert ids[0] != ids[1]
    # The faster faces leave the picture later.
    assert len(frames[64]) == 2


@pytest.mark.parametrize("pause", [0.5, 1.0])
def test_wrong_predictions_of_a_partly_covered_face_do_not_cost_the_id(person, pause, make_world):
    """While it is covered and when it comes back, the face behind looks like another one and seems to move away."""
    now = [0.0]

    def front(seconds):
        return (min(200 + 100 * seconds, 300) if seconds < 1 + pause else 300 - 100 * (seconds - 1 - pause), 180)

    def change(face):
        x, y = face.landmarks68[:, :2].mean(0)
        covered = front(now[0])[0] - 240  # in pixels
        if covered < 0 or x < front(now[0])[0] + 5:
            return face
        other = person(7, lambda _: (x + 0.4 * covered * (now[0] < 1), y)).at(0)
        return replace(other, pose=replace(other.pose, scale=1.7 * other.pose.scale))

    people = [person(1, front, (220, 170, 140)), person(2, lambda _: (330, 180), (90, 120, 200))]
    world = make_world(people, noise=0.3)
    world.change = world.change_detected = change
    tracker, ids = VideoPredictor(world, fps=RATE), []
    for i in range(round((2 + pause) * RATE)):
        now[0] = i / RATE
        faces = tracker(world.frame(now[0]), now[0])
        ids.append([face.track_id for face in sorted(faces, key=lambda face: face.landmarks68[:, 0].mean())])
    assert [1] in ids
    assert ids[0] == [1, 2]
    assert ids[-1] == [1, 2]


GAPS = [
    # seconds out of sight, whether the id is the same afterwards
    (0.2, True),
    (1.0, True),
    (2.5, False),
]


@pytest.mark.parametrize(("gap", "is_same"), GAPS)
def test_ids_outlast_short_losses_only(person, gap, is_same, make_world):
    def path(seconds):
        return None if 1.0 < seconds < 1.0 + gap else (300 + 5 * seconds, 180)

    world = make_world([person(0, path)])
    frames = run(world, 4.5)
    assert (set(frames[-1]) == set(frames[0])) == is_same
    assert len(frames[-1]) == 1
    assert any(not frame for frame in frames[30 : 30 + round(gap * RATE) + 1]) or gap < 0.3


def test_ids_outlast_gaps_between_frames_but_not_people_who_left_meanwhile(person, make_world):
    world = make_world([person(0, lambda t: None if 10 < t < 80 else (300, 180))])
    tracker = VideoPredictor(world)
    ids = [[face.track_id for face in tracker(world.frame(t), t)] for t in np.arange(40) * 2.5]
    assert ids[:5] == [[1]] * 5
    assert [] in ids
    assert ids[-1] == [2]


def test_a_face_in_the_background_is_dropped(person, make_world):
    world = make_world([person(0, lambda t: (300, 180) if t < 1 else None)])
    frames = run(world, 4.0)
    assert frames[20]
    assert not any(frames[90:])


def test_a_person_who_leaves_and_one_who_enters_elsewhere_are_two(person, make_world):
    people = [
        person(0, lambda t: (120, 120) if t < 1 else None),
        person(1, lambda t: (500, 250) if t > 1.2 else None, (60, 90, 200)),
    ]
    frames = run(make_world(people), 3.0)
    assert set(frames[0]) == {1}
    assert set(frames[-1]) == {2}


def test_a_new_person_is_found_within_the_interval_of_detection(person, make_world):
    people = [person(0, lambda t: (150, 180)), person(1, lambda t: (450, 180) if t >= 1 else None, (60, 90, 200))]
    frames = run(make_world(people), 2.0, detect_every=10)
    first = next(i for i, frame in enumerate(frames) if len(frame) == 2)
    assert RATE <= first < RATE + 10


def test_a_face_that_leaves_the_picture_ends(person, make_world):
    world = make_world([person(0, lambda t: (320 + 200 * t, 180))])
    frames = run(world, 3.0)
    assert frames[0]
    assert not frames[-1]


def test_a_face_outside_the_frame_is_lost_and_not_predicted_again(person, make_world):
    world = make_world([person(0, lambda t: (300, 180))])
    world.change_detected = lambda face: replace(face, landmarks68=face.landmarks68 + np.float32([5000, 0, 0]))
    world.change = None  # the predictor must not be called with these landmarks
    frames = run(world, 0.2)
    assert len(frames) == 6


LOST = [
    # how the followed face changes
    lambda face: replace(face, confidence=0.2),
    lambda face: replace(face, pose=replace(face.pose, scale=face.pose.scale * 1.5)),
]


@pytest.mark.parametrize("change", LOST)
def test_a_lost_face_is_detected_again_at_once(person, change, make_world):
    world = make_world([person(0, lambda t: (300, 180))])
    tracker = VideoPredictor(world, detect_every=100)
    for i in range(4):
        tracker(world.frame(i / RATE), i / RATE)
    assert world.n_detections == 1
    world.change = change
    faces = tracker(world.frame(4 / RATE), 4 / RATE)
    assert world.n_detections == 2
    assert [face.track_id for face in faces] == [1]


def test_frames_of_another_size_start_with_the_detector(person, make_world):
    world = make_world([person(0, lambda t: (300, 180))])
    tracker = VideoPredictor(world)
    tracker(world.frame(0.0))
    tracker(world.frame(0.1)[:300])
    assert world.n_detections == 2


def test_the_predictor_may_be_a_name_of_weights():
    assert VideoPredictor("synergynet_small").predictor.net.model_id == "synergynet_small"


def test_times_are_checked(make_world):
    world = make_world([])
    tracker = VideoPredictor(world, fps=10)
    image = world.frame(0.0)
    tracker(image, 1.0)
    with pytest.raises(ValueError, match=r"0.5 s cannot follow one at 1 s; each video needs a VideoPredictor"):
        tracker(image, 0.5)
    tracker(image)
    with pytest.raises(ValueError, match=r"cannot follow one at 1.1 s"):
        tracker(image, 1.1)
    with pytest.raises(ValueError, match="positive"):
        VideoPredictor(world, detect_every=0)
    with pytest.raises(ValueError, match="uint8 RGB"):
        tracker(image[..., 0])
