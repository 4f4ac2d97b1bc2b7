"""Compare tracking with predictions of single frames, on clips with known motion."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from eval.inference import Progress
from eval.video.clips import (
    Clip,
    crossing_clips,
    cut_out,
    large_clip,
    motion_clips,
    rendered_photo,
    turning_clip,
)
from eval.video.measures import (
    count_switches,
    error_of_motion,
    jitter_degrees,
    jitter_pixels,
    lag,
    lag_of_motion,
    persons,
)
from synergy.demo import demo_photo
from synergy.errors import UserError
from synergy.face import Face
from synergy.faces import Faces
from synergy.predictor import FacePredictor
from synergy.tracking import VideoPredictor

Image = NDArray[np.uint8]

# Jitter and lag are measured after so many frames, because a track is smoothed less in its first frames.
_START = 15
_N_FRAMES = 75
# Seeds of two rendered people who cross with the person of the photo.
_RENDERED = (1, 3)


class Figure(NamedTuple):
    """One measured number of both ways.

    Attributes:
        name: what was measured, and on which clip.
        unit: its unit.
        before: for predictions of single frames.
        after: for tracking.
    """

    name: str
    unit: str
    before: float
    after: float


def compare(
    predictor: FacePredictor, photos: Sequence[Image] = (), progress: Progress = iter, n_frames: int = _N_FRAMES
) -> list[Figure]:
    """Measure jitter, lag, switched ids and time with and without tracking.

    Args:
        predictor: predicts the faces in both cases.
        photos: photos of people who cross. By default the demo photo and two rendered people.
        progress: shows the progress over the clips.
        n_frames: length of the clips of one face.

    Returns:
        The measured numbers. Jitter of the mesh is left out for a model of landmarks alone.

    Raises:
        UserError: the predictor finds no face in a frame of a clip with one face.
    """
    photo = demo_photo()
    moving = [*motion_clips(photo, predictor, n_frames), turning_clip(_RENDERED[0], n_frames)]
    people = [cut_out(one, predictor) for one in photos or [photo, *(rendered_photo(seed) for seed in _RENDERED)]]
    crossings = crossing_clips(people)
    figures: list[Figure] = []
    counts = np.zeros((2, 3), int)
    for i in progress(range(len(moving) + len(crossings) + 1)):
        if i < len(moving):
            figures += _compare_motion(moving[i], predictor)
        elif i < len(moving) + len(crossings):
            counts += _compare_ids(crossings[i - len(moving)], predictor)
        else:
            figures += _ids_figures(counts, len(crossings))
            figures += _compare_time(photo, predictor)
    return figures


def _ids_figures(counts: NDArray[np.int_], n_clips: int) -> list[Figure]:
    """Return the figures of counts (2, 3): switched ids, people without a face, and people in sight."""
    missed = counts[:, 1] / counts[:, 2] * 100
    return [
        Figure(f"switched ids, {n_clips} crossings", "", *counts[:, 0].astype(float)),
        Figure(f"people in sight without a face, {n_clips} crossings", "%", *missed),
    ]


def _compare_motion(clip: Clip, predictor: FacePredictor) -> list[Figure]:
    """Measure jitter or lag of the single face of a clip."""
    frames = list(clip)
    tracker = VideoPredictor(predictor)
    before = _only_faces([predictor(frame.image) for frame in frames])
    after = _only_faces([tracker(frame.image, frame.seconds) for frame in frames])
    motions = [frame.motion for frame in frames[_START:] if frame.motion is not None]
    rotations = [frame.rotation for frame in frames[_START:] if frame.rotation is not None]

    def both(name: str, unit: str, measure: Callable[[list[Face]], float]) -> Figure:
        values = [measure(faces[_START:]) for faces in (before, after)]
        return Figure(f"{name}, {clip.name}", unit, *values)

    if rotations:
        true_yaw = np.arcsin(-np.array(rotations)[:, 0, 2])
        return [both("lag of the yaw", "frames", lambda faces: lag(_yaw(faces), true_yaw))]
    if np.ptp(motions, axis=0).max() == 0:
        figures = [
            both("jitter of the landmarks", "px", lambda faces: jitter_pixels(_points(faces))),
            both("jitter of the rotation", "degrees", lambda faces: jitter_degrees([f.pose.matrix for f in faces])),
        ]
        if predictor.net.morphable_model.is_dense:
            mesh = both("jitter of the mesh", "px", lambda faces: jitter_pixels([f.vertices()[::20] for f in faces]))
            figures.insert(1, mesh)
        return figures
    return [
        both("lag", "frames", lambda faces: lag_of_motion(_points(faces), motions)),
        both("error", "px", lambda faces: error_of_motion(_points(faces), motions)),
    ]


def _compare_ids(clip: Clip, predictor: FacePredictor) -> NDArray[np.int_]:
    """Count switched ids, people without a face and people in sight, over the frames of a clip.

    The id of a face in a single frame is its place in the order of the faces.

    Returns:
        (2, 3) for single frames and for tracks.
    """
    tracker = VideoPredictor(predictor)
    before, after, centres = [], [], []
    for frame in clip:
        before.append(dict(enumerate(_centres(predictor(frame.image)))))
        faces = tracker(frame.image, frame.seconds)
        after.append({face.track_id or 0: centre for face, centre in zip(faces, _centres(faces), strict=True)})
        centres.append(frame.centres)
    rows = [persons(ids, np.array(centres)) for ids in (before, after)]
    return np.array(
        [
            (sum(map(count_switches, people)), sum(ids.count(None) for ids in people), sum(map(len, people)))
            for people in rows
        ]
    )


def _compare_time(photo: Image, predictor: FacePredictor) -> list[Figure]:
    """Measure the time per frame of 1280 x 720 pixels with one face, both ways in turn.

    Tracking is measured over whole intervals of detection. Time of the processor counts all threads together. It
    depends less than wall time on what else the machine does.
    """
    tracker = VideoPredictor(predictor)
    clip = large_clip(photo, 4 * tracker.detect_every)
    times = np.zeros((clip.n_frames, 2, 2))
    for i, frame in enumerate(clip):
        for j, call in enumerate((lambda f: predictor(f.image), lambda f: tracker(f.image, f.seconds))):
            wall, cpu = time.perf_counter(), time.process_time()
            call(frame)
            times[i, j] = time.perf_counter() - wall, time.process_time() - cpu
    # The first interval warms up. The others are summed up; the fastest one is what the program needs.
    intervals = times.reshape(4, -1, 2, 2)[1:].mean(1).min(0) * 1000
    names = "time per frame, 1280 x 720", "processor time per frame, 1280 x 720"
    return [Figure(name, "ms", *intervals[:, k]) for k, name in enumerate(names)]


def _only_faces(frames: Sequence[Faces]) -> list[Face]:
    """Return the first face of each frame.

    Raises:
        UserError: a frame has none.
    """
    if missing := sum(not faces for faces in frames):
        raise UserError(f"no face was found in {missing} of {len(frames)} frames of a clip of one face")
    return [faces[0] for faces in frames]


def _points(faces: Sequence[Face]) -> NDArray[np.float32]:
    return np.array([face.landmarks68 for face in faces])


def _yaw(faces: Sequence[Face]) -> NDArray[np.float64]:
    return np.radians([face.pose.yaw for face in faces])


def _centres(faces: Faces) -> NDArray[np.float32]:
    """Return the centres (N, 2) of the landmarks of faces."""
    return np.asarray(faces.landmarks68[..., :2].mean(1))
