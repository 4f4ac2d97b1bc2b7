"""Follow faces through the frames of a video."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from synergy.crop import landmark_box
from synergy.face import Face
from synergy.faces import Faces
from synergy.images import check_image
from synergy.predictor import FacePredictor
from synergy.tracking.matching import Expectation, Identity, assign, cost, identity_of, overlap
from synergy.tracking.smoothing import FaceSmoother, face_size

Image = NDArray[np.uint8]

# Two boxes of landmarks with this intersection over union show the same face.
_SAME = 0.4
# Faces whose boxes overlap by this much can be confused. The detector then runs on every frame.
_CLOSE = 0.05
# A followed face is lost if its size changes by more than this factor from one frame to the next, or if less than this
# fraction of its box lies in the image.
_SIZE_JUMP = 1.35
_MIN_INSIDE = 0.5
# A followed face whose identity is farther than this from that of its track is checked by the detector.
_SUSPICIOUS = 1.0
# A followed face that the detector misses this many times in a row is lost.
_MAX_MISSED = 3
# While a person is out of sight, or a followed face is not confirmed, the detector runs on every frame of this number.
_DETECT_WHILE_LOST = 3
# A motion is continued for at most this time in seconds.
_MAX_MOTION = 0.5
# The fraction by which the identity of a track follows each new observation.
_IDENTITY_GAIN = 0.1
# The filters of a track start again where the face is farther than this from the expected place, in face sizes.
_JUMP = 0.5


@dataclass
class _Track:
    """What is known of one person.

    Attributes:
        number: the id, from 1.
        smoother: filters the faces.
        face: the smoothed face of the last frame in which the person was seen.
        raw: the face of that frame as it was predicted.
        seen: time of that frame in seconds.
        identity: running mean of the identity.
        size: face size in pixels.
        velocity: (2,) of the centre of the landmarks in pixels per second.
        near: ids of the people whose faces overlapped this one when it was last seen. Identity, size and velocity are
            those of the last frame without such people, because predictions for a partly covered face are wrong.
        missed: how many times in a row the detector did not find the face.
        is_active: whether the face was seen in the last frame.
    """

    number: int
    smoother: FaceSmoother
    face: Face
    raw: Face
    seen: float
    identity: Identity
    size: float
    velocity: NDArray[np.float64] = field(default_factory=lambda: np.zeros(2))
    near: frozenset[int] = frozenset()
    missed: int = 0
    is_active: bool = True

    def expect(self, seconds: float, others: Iterable[_Track]) -> Expectation:
        """Return where the face is expected at a time.

        The motion goes on for a while. A person who is out of sight may also appear next to one who was near.

        Args:
            seconds: the time.
            others: all tracks.
        """
        elapsed = seconds - self.seen
        centres = [_centre(self.face) + self.velocity * min(elapsed, _MAX_MOTION)]
        if not self.is_active:
            centres += [_centre(other.face) for other in others if other.number in self.near]
        return Expectation(np.array(centres), self.size, self.identity, elapsed)

    def observe(self, face: Face, identity: Identity, seconds: float, near: frozenset[int]) -> None:
        """Take the face that was predicted for this track.

        Args:
            face: the face.
            identity: of the face.
            seconds: its time.
            near: ids of the people whose faces overlap it.
        """
        expected = _centre(self.face) + self.smoother.velocity * (seconds - self.seen)
        if not self.is_active or np.linalg.norm(_centre(face) - expected) > _JUMP * face_size(self.face):
            self.smoother.restart()
        self.face = replace(self.smoother(face, seconds - self.seen), track_id=self.number)
        self.near = near
        if not near:
            self.identity = self.identity.towards(identity, _IDENTITY_GAIN)
            self.size, self.velocity = face_size(self.face), self.smoother.velocity.copy()
        self.raw, self.seen, self.is_active = face, seconds, True


class VideoPredictor:
    """Predict the faces of consecutive frames, with ids that last and without jitter.

    The detector runs on the first frame, after a track was lost, while faces cover each other or nobody is in sight,
    and on every n-th frame. While a person is out of sight, it runs on every third frame at least. In between, each
    face is cropped around its landmarks in the previous frame. The results are smoothed
    (`synergy.tracking.smoothing.FaceSmoother`), and each face has its `track_id`. A person who was out of sight for
    less than `memory` seconds gets the same id again.

    One instance serves one video, in one thread.

    Args:
        predictor: predicts the faces, or weights as `FacePredictor` takes them; `FacePredictor()` by default. Several
            trackers may share one predictor.
        detect_every: number of frames from one run of the detector to the next.
        memory: how many seconds a person may be out of sight.
        fps: frames per second of frames without a timestamp.

    Raises:
        ValueError: `detect_every` or `fps` is not positive.

    Example:
        >>> tracker = VideoPredictor()
        >>> frame = np.zeros((120, 160, 3), np.uint8)
        >>> [len(tracker(frame, seconds)) for seconds in (0.0, 0.04)]
        [0, 0]
    """

    def __init__(
        self,
        predictor: FacePredictor | str | Path | None = None,
        detect_every: int = 15,
        memory: float = 2.0,
        fps: float = 30.0,
    ) -> None:
        if detect_every < 1 or not fps > 0:
            raise ValueError(f"detect_every and fps are positive, got {detect_every} and {fps}")
        self.predictor = (
            FacePredictor(predictor) if predictor is None or isinstance(predictor, str | Path) else predictor
        )
        self.detect_every = detect_every
        self.memory = memory
        self.fps = fps
        self._tracks: list[_Track] = []
        self._n_tracks = 0
        self._seconds: float | None = None
        self._shape: tuple[int, ...] = ()
        self._since_detection = 0

    def __call__(self, frame: Image, seconds: float | None = None) -> Faces:
        """Predict the faces of the next frame.

        Args:
            frame: (H, W, 3) uint8 RGB.
            seconds: time of the frame. By default, `1 / fps` after the previous frame.

        Returns:
            The faces that are in sight, in the order of their ids.

        Raises:
            ValueError: the frame is not an image, or its time is not after that of the previous frame.
        """
        check_image(frame)
        seconds = self._next_time(seconds)
        if frame.shape != self._shape:
            self._shape = frame.shape
            for track in self._tracks:
                track.is_active = False
        self._tracks = [track for track in self._tracks if track.is_active or seconds - track.seen <= self.memory]
        followed = self._follow(frame)
        self._since_detection += 1
        if self._must_detect(frame, followed):
            self._since_detection = 0
            observed = self._detect(frame, seconds, followed)
        else:
            observed = [(track, face) for track, face in followed if face is not None]
        seen = {track.number for track, _ in observed}
        for track in self._tracks:
            track.is_active &= track.number in seen
        boxes = _boxes_of([face for _, face in observed])
        is_near = (overlap(boxes, boxes) > _CLOSE) & ~np.eye(len(boxes), dtype=bool)
        for (track, face), row in zip(observed, is_near, strict=True):
            near = frozenset(observed[j][0].number for j in np.flatnonzero(row))
            track.observe(face, identity_of(frame, face), seconds, near)
        return Faces(track.face for track in sorted(self._tracks, key=lambda track: track.number) if track.is_active)

    def _next_time(self, seconds: float | None) -> float:
        """Return the time of a frame, and check that it is after that of the previous one."""
        if seconds is None:
            seconds = 0.0 if self._seconds is None else self._seconds + 1 / self.fps
        if self._seconds is not None and not seconds > self._seconds:
            problem = f"a frame at {seconds:g} s cannot follow one at {self._seconds:g} s"
            raise ValueError(f"{problem}; each video needs a VideoPredictor of its own")
        self._seconds = seconds
        return seconds

    def _follow(self, frame: Image) -> list[tuple[_Track, Face | None]]:
        """Predict the face of each active track, cropped around its last landmarks; None where it is lost."""
        tracks = [track for track in self._tracks if track.is_active]
        inside = [track for track in tracks if _area_inside(landmark_box(track.face.landmarks68), frame) > 0]
        if not inside:
            return [(track, None) for track in tracks]
        faces = self.predictor(frame, landmarks=np.stack([track.face.landmarks68 for track in inside]))
        kept = {
            track.number: replace(face, score=track.raw.score)
            for track, face in zip(inside, faces, strict=True)
            if not self._is_lost(face, track.raw, frame)
        }
        return [(track, kept.get(track.number)) for track in tracks]

    def _is_doubtful(self, face: Face) -> bool:
        """Say whether the network predicts that a crop shows no face."""
        return face.confidence is not None and face.confidence < self.predictor.min_confidence

    def _is_lost(self, face: Face, last: Face, frame: Image) -> bool:
        """Say whether a followed face is no face any more, given the face of the previous frame."""
        if self._is_doubtful(face) or abs(np.log(face_size(face) / face_size(last))) > np.log(_SIZE_JUMP):
            return True
        box = landmark_box(face.landmarks68).astype(np.float64)
        return bool(_area_inside(box, frame) < _MIN_INSIDE * np.prod(box[2:] - box[:2]))

    def _must_detect(self, frame: Image, followed: Sequence[tuple[_Track, Face | None]]) -> bool:
        """Say whether the detector runs on this frame."""
        faces = [face for _, face in followed if face is not None]
        if not faces or len(faces) < len(followed) or self._since_detection >= self.detect_every:
            return True
        boxes = _boxes_of(faces)
        if (overlap(boxes, boxes) > _CLOSE).sum() > len(boxes):
            return True
        if any(track.missed or not track.is_active for track in self._tracks):
            return self._since_detection >= _DETECT_WHILE_LOST
        return any(
            track.identity.distance(identity_of(frame, face)) > _SUSPICIOUS
            for track, face in followed
            if face is not None
        )

    def _detect(
        self, frame: Image, seconds: float, followed: Sequence[tuple[_Track, Face | None]]
    ) -> list[tuple[_Track, Face]]:
        """Run the detector, and decide which face belongs to which track.

        Where one detection and one followed face overlap each other and nothing else, the followed face is confirmed.
        The other detections are predicted, and assigned to the other tracks by their costs. What is left over starts
        new tracks.
        """
        detection = self.predictor.detect(frame)
        boxes = detection.crop_boxes
        kept = [(track, face) for track, face in followed if face is not None]
        own_boxes = _boxes_of([face for _, face in kept])
        is_same = overlap(own_boxes, boxes) > _SAME
        is_clear = is_same & (is_same.sum(1, keepdims=True) == 1) & (is_same.sum(0, keepdims=True) == 1)
        observed = [
            (kept[i][0], replace(kept[i][1], score=float(detection.scores[j]))) for i, j in np.argwhere(is_clear)
        ]

        rest = detection.rows(np.flatnonzero(~is_clear.any(0)))
        faces = [
            face
            for face in self.predictor.predict_located([frame], [rest])[0]
            if not self._is_doubtful(face) and not _shows_any(face, [one for _, one in observed])
        ]
        confirmed = {track.number for track, _ in observed}
        tracks = [track for track in self._tracks if track.number not in confirmed]
        identities = [identity_of(frame, face) for face in faces]
        expected = [track.expect(seconds, self._tracks) for track in tracks]
        everyone = _boxes_of([*faces, *(face for _, face in observed)])
        is_covered = (overlap(everyone[: len(faces)], everyone) > _CLOSE).sum(1) > 1
        candidates = list(zip(faces, identities, is_covered, strict=True))
        costs = np.array([[cost(place, *candidate) for candidate in candidates] for place in expected])
        pairs = assign(costs.reshape(len(tracks), len(faces)))
        observed += [(tracks[i], faces[j]) for i, j in pairs]
        for track, _ in observed:
            track.missed = 0

        found = [face for _, face in observed]
        for i, (track, face) in enumerate(kept):
            if track.number not in {one.number for one, _ in observed}:
                track.missed += 1
                is_close = (np.delete(overlap(own_boxes[i], own_boxes)[0], i) > _CLOSE).any()
                if track.missed < _MAX_MISSED and not is_close and not _shows_any(face, found):
                    observed.append((track, face))
        assigned = {j for _, j in pairs}
        for j, (face, identity) in enumerate(zip(faces, identities, strict=True)):
            if j not in assigned and not _shows_any(face, [one for _, one in observed]):
                observed.append((self._start(face, identity, seconds), face))
        return observed

    def _start(self, face: Face, identity: Identity, seconds: float) -> _Track:
        """Start a track with a face."""
        self._n_tracks += 1
        track = _Track(self._n_tracks, FaceSmoother(), face, face, seconds, identity, face_size(face))
        self._tracks.append(track)
        return track


def _centre(face: Face) -> NDArray[np.float64]:
    """Return the centre (2,) of the landmarks of a face."""
    return np.asarray(face.landmarks68[:, :2].mean(0), np.float64)


def _boxes_of(faces: Sequence[Face]) -> NDArray[np.float32]:
    """Return the bounding boxes (N, 4) of the landmarks of faces."""
    return np.array([landmark_box(face.landmarks68) for face in faces], np.float32).reshape(-1, 4)


def _shows_any(face: Face, others: Sequence[Face]) -> bool:
    """Say whether a face is one of the others."""
    return bool((overlap(_boxes_of([face]), _boxes_of(others)) > _SAME).any())


def _area_inside(box: NDArray[np.floating], frame: Image) -> float:
    """Return the area in pixels of the part of a box (4,) that lies inside a frame."""
    limits = np.tile([frame.shape[1] - 1.0, frame.shape[0] - 1.0], 2)
    inside = np.asarray(box, np.float64).clip(0, limits)
    return float(np.prod(inside[2:] - inside[:2]))
