"""The clip of the demo: the photo under a moving camera, and a rendered person who talks and passes in front of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from synergy.animation import FaceAnimation
from synergy.demo.rendered import animated_face, demo_photo, paint_face
from synergy.draw import draw_layer
from synergy.face import Face
from synergy.predictor import FacePredictor
from synergy.tracking import VideoPredictor
from synergy.video import VideoReader, VideoWriter

Image = NDArray[np.uint8]

RATE = 20
SECONDS = 6.0
SIZE = (640, 360)
# Where the middle between the eyes of the photo lies in the photo, and in the clip while the camera rests.
_EYES = (224.0, 112.0)
_PLACE = (190.0, 150.0)
_ZOOM = 1.45
# The rendered person: the seed, and the height of the landmarks in pixels.
_SEED = 3
_HEIGHT = 120.0


class Track(NamedTuple):
    """What tracking found for one person.

    Attributes:
        number: the id.
        seconds: (T,) times at which the person was found.
        yaw: (T,) in degrees.
    """

    number: int
    seconds: list[float]
    yaw: list[float]


def rendered_person(seconds: float) -> Face:
    """Return the rendered person of the clip at a time."""
    phase = 2 * np.pi * seconds / SECONDS
    # The person stands on the right, passes in front of the photo's person, and goes back.
    x = 500.0 - 340.0 * float(0.5 - 0.5 * np.cos(phase)) ** 2
    talk = 0.5 - 0.5 * np.cos(5 * phase)
    smile = max(0.0, float(-np.cos(phase)))
    blink = max(0.0, 1 - 12 * abs(((seconds + 0.4) % 2.0) - 1.0))
    expression = {
        "jawOpen": 0.45 * talk,
        "mouthSmileLeft": 0.7 * smile,
        "mouthSmileRight": 0.7 * smile,
        "browInnerUp": 0.6 * float(np.sin(phase) ** 2),
        "eyeBlinkLeft": blink,
        "eyeBlinkRight": blink,
    }
    angles = (8.0 * float(np.sin(2 * phase)), 32.0 * float(np.sin(2 * phase + 0.5)), 6.0 * float(np.sin(phase)))
    return animated_face(_SEED, expression, angles, (x, 195.0 + 8.0 * float(np.sin(2 * phase))), _HEIGHT)


def frames() -> Iterator[Image]:
    """Make the frames of the clip, (360, 640, 3) uint8 RGB. The last frame leads to the first one.

    Raises:
        UserError: scikit-image, which has the photo, is not installed.
    """
    photo = demo_photo()
    for i in range(round(RATE * SECONDS)):
        seconds = i / RATE
        phase = 2 * np.pi * seconds / SECONDS
        camera = cv2.getRotationMatrix2D(_EYES, 7.0 * float(np.sin(phase)), _ZOOM * (1 + 0.08 * float(np.cos(phase))))
        camera[:, 2] += np.subtract(_PLACE, _EYES) + [22 * np.sin(2 * phase), 8 * np.sin(phase)]
        moved = cv2.warpAffine(photo, camera, SIZE, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
        yield paint_face(np.asarray(moved, np.uint8), rendered_person(seconds), _SEED)


def write_clip(path: Path) -> None:
    """Write the clip as an mp4 file.

    Raises:
        UserError: PyAV or scikit-image is not installed.
    """
    with VideoWriter(path, RATE) as writer:
        for i, frame in enumerate(frames()):
            writer.write(frame, i)


def track_clip(path: Path, predictor: FacePredictor, layers: Sequence[str]) -> list[Track]:
    """Track the people of the clip and write what was found next to it.

    Args:
        path: the clip, for example `clip.mp4`. `clip_overlay.mp4` and so on are written for the layers, and
            `clip_1.glb` with an animated mesh of the person with id 1.
        predictor: predicts the faces.
        layers: names of `synergy.result_formats.PICTURE_FORMATS`.

    Returns:
        The tracks, in the order of their ids.
    """
    tracker = VideoPredictor(predictor)
    animations: dict[int, FaceAnimation] = {}
    tracks: dict[int, Track] = {}
    with ExitStack() as stack:
        video = stack.enter_context(VideoReader(path))
        stem = path.with_suffix("")
        writers = {name: stack.enter_context(VideoWriter(f"{stem}_{name}.mp4", video)) for name in layers}
        for frame in video:
            faces = tracker(frame.image, frame.seconds)
            for name, writer in writers.items():
                writer.write(draw_layer(frame.image, faces, name), frame.ticks)
            for face in faces:
                assert face.track_id is not None
                animations.setdefault(face.track_id, FaceAnimation()).add(frame.seconds, face, frame.image)
                track = tracks.setdefault(face.track_id, Track(face.track_id, [], []))
                track.seconds.append(frame.seconds)
                track.yaw.append(face.pose.yaw)
    for number, animation in animations.items():
        animation.write(f"{stem}_{number}.glb")
    return [tracks[number] for number in sorted(tracks)]
