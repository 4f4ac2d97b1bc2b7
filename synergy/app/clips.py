"""The analysis of one short clip, and the files that can be made from it."""

from __future__ import annotations

import asyncio
import json
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from synergy.animation import FaceAnimation
from synergy.app.files import written, zip_files
from synergy.app.limits import Limits, RequestError
from synergy.app.words import describe_pose
from synergy.draw import overlay
from synergy.errors import UserError
from synergy.export import write_csv_rows
from synergy.face import Face
from synergy.predictor import FacePredictor
from synergy.tracking import VideoPredictor
from synergy.video import VideoReader, VideoWriter

# Stated durations may contain sound that ends a little after the pictures. In seconds.
_DURATION_TOLERANCE = 0.5

# Time in seconds; and per face id, pitch, yaw and roll in degrees, and the pose in plain words.
FramePoses = tuple[float, list[tuple[int, float, float, float, str]]]


class ClipJob:
    """What the thread that analyses a clip and the request that waits for it tell each other.

    Args:
        loop: the event loop of the request.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._reports: asyncio.Queue[float | None] = asyncio.Queue()
        self._stopped = threading.Event()

    def report(self, fraction: float) -> None:
        """Report the progress, from the thread.

        Raises:
            RequestError: the client has gone.
        """
        if self._stopped.is_set():
            raise RequestError(499, "The client has gone.")
        self._loop.call_soon_threadsafe(self._reports.put_nowait, fraction)

    def stop(self) -> None:
        """Let the thread end at its next report."""
        self._stopped.set()

    def finish(self) -> None:
        """Let `progress` end."""
        self._reports.put_nowait(None)

    async def progress(self) -> AsyncIterator[float]:
        """Yield the reported fractions until the thread has finished."""
        while (fraction := await self._reports.get()) is not None:
            yield fraction


@dataclass(frozen=True)
class Clip:
    """An analysed clip.

    Attributes:
        name: name of its file.
        video: the annotated clip, an mp4 file.
        lines: per frame one line of JSON, `{"seconds", "faces": [...]}`.
        series: the poses of all faces, per frame.
        width: of the upright frames in pixels.
        height: of the upright frames in pixels.
        animations: id of a person to the animated face.
        problem: one line about what could not be read; empty if everything could.
    """

    name: str
    video: bytes = field(repr=False)
    lines: list[bytes] = field(repr=False)
    series: list[FramePoses] = field(repr=False)
    animations: dict[int, FaceAnimation] = field(repr=False)
    width: int
    height: int
    problem: str

    @property
    def n_bytes(self) -> int:
        """Return the memory that the result takes, in bytes."""
        # Each animation has one frame for its texture.
        return len(self.video) + sum(map(len, self.lines)) + len(self.animations) * self.width * self.height * 3

    def to_dict(self) -> dict[str, Any]:
        """Describe the clip for the page."""
        return {
            "kind": "clip",
            "name": self.name,
            "width": self.width,
            "height": self.height,
            "series": self.series,
            "people": sorted({track_id for _, faces in self.series for track_id, *_ in faces}),
            "has_mesh": bool(self.animations),
            "note": f"{self.name}: {self.problem}." if self.problem else "",
            "files": list(self.files()),
        }

    def model_numbers(self) -> list[int]:
        """Return the numbers that `model_file` takes."""
        return list(self.animations)

    def model_file(self, number: int) -> bytes:
        """Return the animated face of a person as binary glTF.

        Args:
            number: id of the person.
        """
        return written("face.glb", self.animations[number].write)

    def files(self) -> dict[str, Callable[[], bytes]]:
        """Return the files that can be downloaded: name to a function that makes the content."""
        files: dict[str, Callable[[], bytes]] = {
            "overlay.mp4": lambda: self.video,
            "faces.jsonl": lambda: b"\n".join(self.lines) + b"\n",
            "faces.csv": self._table,
        }
        for number in self.animations:
            files[f"person_{number}.glb"] = partial(self.model_file, number)
        files["everything.zip"] = partial(zip_files, dict(files))
        return files

    def _table(self) -> bytes:
        rows = [{"name": self.name, **json.loads(line)} for line in self.lines]
        names = {name: None for row in rows for face in row["faces"] for name in face["blendshapes"]}
        return written("faces.csv", lambda path: write_csv_rows(path, rows, list(names)))


def analyse_clip(data: bytes, name: str, predictor: FacePredictor, limits: Limits, job: ClipJob) -> Clip:
    """Follow the faces of a clip.

    Args:
        data: content of a video file.
        name: name of the file.
        predictor: predicts the faces.
        limits: the limits on clips.
        job: is told the progress, and says when to stop.

    Raises:
        RequestError: the clip is too long, takes too much time, or nobody waits for it any more.
        UserError: the file is no video that can be read, or has too many pixels.
    """
    if not data:
        raise RequestError(422, f"{name} is empty.")
    with tempfile.TemporaryDirectory(prefix="synergy-app-") as folder:
        path = Path(folder) / "clip"
        path.write_bytes(data)
        try:
            return _analyse(path, name, predictor, limits, job)
        except UserError as error:
            raise UserError(str(error).replace(str(path), name)) from None


def _analyse(path: Path, name: str, predictor: FacePredictor, limits: Limits, job: ClipJob) -> Clip:
    end = time.monotonic() + limits.clip_work_seconds
    tracker = VideoPredictor(predictor)
    lines: list[bytes] = []
    series: list[FramePoses] = []
    animations: dict[int, FaceAnimation] = {}
    height = width = 0
    target = path.with_name("overlay.mp4")
    with VideoReader(path, round(limits.clip_megapixels * 1e6)) as video:
        if video.duration is not None and video.duration > limits.clip_seconds + _DURATION_TOLERANCE:
            raise _too_long(limits)
        with VideoWriter(target, video) as writer:
            for frame in video:
                if frame.seconds > limits.clip_seconds:
                    raise _too_long(limits)
                if time.monotonic() > end:
                    seconds = limits.clip_work_seconds
                    raise RequestError(503, f"The analysis took longer than {seconds:g} seconds. Try a shorter clip.")
                height, width = frame.image.shape[:2]
                faces = tracker(frame.image, frame.seconds)
                writer.write(overlay(frame.image, faces), frame.ticks)
                row = {"seconds": round(frame.seconds, 4), **faces.to_dict()}
                lines.append(json.dumps(row, allow_nan=False).encode())
                series.append((row["seconds"], [_pose_of(face) for face in faces]))
                for face in faces:
                    if face.morphable_model.is_dense:
                        animation = animations.setdefault(_id_of(face), FaceAnimation())
                        animation.add(frame.seconds, face, frame.image)
                job.report(min(1.0, frame.seconds / (video.duration or limits.clip_seconds)))
        return Clip(
            name=name,
            video=target.read_bytes(),
            lines=lines,
            series=series,
            animations=animations,
            width=width,
            height=height,
            problem=video.problem or writer.problem,
        )


def _id_of(face: Face) -> int:
    """Return the id of a tracked face."""
    assert face.track_id is not None
    return face.track_id


def _pose_of(face: Face) -> tuple[int, float, float, float, str]:
    """Return id, pitch, yaw and roll, and the pose in plain words."""
    pitch, yaw, roll = (round(angle, 1) for angle in (face.pose.pitch, face.pose.yaw, face.pose.roll))
    return _id_of(face), pitch, yaw, roll, describe_pose(face)


def _too_long(limits: Limits) -> RequestError:
    return RequestError(413, f"The clip is too long. At most {limits.clip_seconds:g} seconds are accepted.")
