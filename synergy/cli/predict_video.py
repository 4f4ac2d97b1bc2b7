"""What `synergy predict` does with a video file and with a camera."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from synergy.errors import UserError
from synergy.result_formats import MESH_FORMATS

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from synergy.face import Face
    from synergy.faces import Faces
    from synergy.predictor import FacePredictor
    from synergy.video import Frame

    Image = NDArray[np.uint8]
    Painter = Callable[[Image, Sequence[Face]], Image]


def track_video(
    path: Path,
    stem: Path,
    predictor: FacePredictor,
    painters: Mapping[str, Painter],
    formats: Sequence[str],
    neutral: bool,
    on_frame: Callable[[Frame, Faces], None],
    on_duration: Callable[[float | None], None],
) -> tuple[int, int, str]:
    """Predict and draw a video.

    The files are `STEM_overlay.mp4` and so on for each picture; `STEM_1.glb` for the person with id 1; and, in the
    folder `STEM_frames`, one file per face for the other formats, named by frame and id.

    Args:
        path: the video file.
        stem: path with which the written files begin.
        predictor: predicts the faces.
        painters: format to what draws its frames.
        formats: the wanted formats.
        neutral: write meshes without the expression.
        on_frame: called with each frame and its faces.
        on_duration: called once with the length of the video in seconds, or None where it is not known.

    Returns:
        Number of frames, number of faces in them, and one line about what could not be read or written ("" if nothing).

    Raises:
        UserError: the file is no video, or none of it can be read.
    """
    from synergy.animation import FaceAnimation
    from synergy.export import FaceMesh, write_pts
    from synergy.tracking import VideoPredictor
    from synergy.video import VideoReader, VideoWriter

    tracker = VideoPredictor(predictor)
    animations: dict[int, FaceAnimation] = {}
    per_frame = [kind for kind in ("pts", *MESH_FORMATS) if kind in formats and kind != "glb"]
    frames = stem.with_name(f"{stem.name}_frames")
    if per_frame:
        frames.mkdir(parents=True)
    n_frames = n_faces = 0
    with ExitStack() as stack:
        video = stack.enter_context(VideoReader(path, predictor.max_pixels))
        on_duration(video.duration)
        writers = {kind: stack.enter_context(VideoWriter(f"{stem}_{kind}.mp4", video)) for kind in painters}
        for frame in video:
            faces = tracker(frame.image, frame.seconds)
            on_frame(frame, faces)
            for kind, paint in painters.items():
                writers[kind].write(paint(frame.image, faces), frame.ticks)
            for face in faces:
                assert face.track_id is not None
                name = str(frames / f"{stem.name}_{n_frames:06d}_{face.track_id}")
                mesh = FaceMesh(face, frame.image, neutral)
                for kind in per_frame:
                    if kind == "pts":
                        write_pts(f"{name}.pts", face.landmarks68)
                    else:
                        mesh.write(f"{name}.{kind}")
                if "glb" in formats:
                    animation = animations.setdefault(face.track_id, FaceAnimation(neutral))
                    animation.add(frame.seconds, face, frame.image)
            n_frames, n_faces = n_frames + 1, n_faces + len(faces)
    for track_id, animation in animations.items():
        animation.write(f"{stem}_{track_id}.glb")
    problem = video.problem or next((writer.problem for writer in writers.values()), "")
    return n_frames, n_faces, problem


def track_camera(index: int, predictor: FacePredictor, paint: Painter) -> None:
    """Follow the faces that a camera sees, until the user stops.

    Where there is a display and OpenCV can show windows, a window shows the annotated picture; Q, Esc or closing the
    window ends. Elsewhere, each frame becomes a line of JSON on standard output, `{"seconds": ..., "faces": [...]}`;
    Ctrl-C ends.

    Args:
        index: number of the camera, from 0.
        predictor: predicts the faces.
        paint: draws the faces.

    Raises:
        UserError: there is no such camera, or it stopped.
    """
    from synergy.tracking import VideoPredictor

    tracker = VideoPredictor(predictor)
    show = _show_window if _can_show_windows() else _print_line
    for image, seconds in _camera_frames(index):
        faces = tracker(image, seconds)
        if not show(paint, image, seconds, faces):
            return


def _camera_frames(index: int) -> Iterator[tuple[Image, float]]:
    """Yield the frames of a camera as RGB, each with its time in seconds since the first."""
    import cv2
    import numpy as np

    # OpenCV reports a camera that is absent in several lines of its own.
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    capture = cv2.VideoCapture(index)
    if not capture.isOpened():
        raise UserError(f"--camera {index}: no such camera, or another program uses it")
    # On Windows, time.monotonic() stays the same for up to 16 ms.
    start = time.perf_counter()
    n_frames = 0
    try:
        while True:
            is_read, image = capture.read()
            if not is_read:
                raise UserError(f"--camera {index}: the camera gave no more pictures after {n_frames} frames")
            n_frames += 1
            yield np.ascontiguousarray(image[..., ::-1], np.uint8), time.perf_counter() - start
    finally:
        capture.release()


def _can_show_windows() -> bool:
    """Say whether there is a display, and an OpenCV with windows (opencv-python-headless has none)."""
    import cv2

    return _has_display() and bool(cv2.currentUIFramework())


def _has_display() -> bool:
    """Say whether there is a display."""
    return sys.platform in ("win32", "darwin") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def _show_window(paint: Painter, image: Image, seconds: float, faces: Faces) -> bool:
    """Show a frame in a window; return False once the user closed it."""
    import cv2

    name = "synergy"
    cv2.imshow(name, paint(image, faces)[..., ::-1])
    is_closed = seconds > 1 and cv2.getWindowProperty(name, cv2.WND_PROP_VISIBLE) < 1
    return cv2.waitKey(1) not in (27, ord("q"), ord("Q")) and not is_closed


def _print_line(paint: Painter, image: Image, seconds: float, faces: Faces) -> bool:  # noqa: ARG001
    """Print a frame's faces as one line of JSON."""
    print(json.dumps({"seconds": round(seconds, 4), **faces.to_dict()}, allow_nan=False), flush=True)  # noqa: T201
    return True
