"""What `synergy predict` does with images: read, find faces, predict those of several images together, write files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synergy.cli.sources import STDIN, output_stem
from synergy.errors import UserError, describe, is_fatal
from synergy.result_formats import MESH_FORMATS, PICTURE_FORMATS

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from synergy.face import Face
    from synergy.predictor import FaceLocations, FacePredictor

    Image = NDArray[np.uint8]
    Draw = Callable[[Image, Sequence[Face], str], Image]

# The largest number of images whose faces are predicted together, and of pixels in them, which limits the memory.
BATCH_IMAGES = 16
_BATCH_PIXELS = 8_000_000


@dataclass(frozen=True)
class ImageTask:
    """One image to predict.

    Attributes:
        name: the input's name.
        key: identifies the input's content and the settings.
        content: path or content of the file.
        stage: folder for the files of the input (`ResultFolder.stage`); None if it has no files.
        boxes: faces to use instead of the detector's; None for the detector's.
    """

    name: str
    key: str
    content: Path | bytes
    stage: Path | None
    boxes: object = None


@dataclass(frozen=True)
class Outcome:
    """What became of one image.

    Attributes:
        task: the task.
        faces: the faces as `Face.to_dict` gives them; None if the image could not be used.
        n_removed: number of detections that were removed because of a low confidence.
        warning: one line about an image of which a part was used.
        failure: why the image could not be used, in one line.
        is_fatal: whether no other result can be written either, as on a full disk.
    """

    task: ImageTask
    faces: list[dict[str, Any]] | None = None
    n_removed: int = 0
    warning: str = ""
    failure: str = ""
    is_fatal: bool = False


@dataclass
class _Loaded:
    """An image that is read and whose faces are found, but not predicted."""

    task: ImageTask
    image: Image
    found: FaceLocations
    warning: str


@dataclass
class ImageWorker:
    """Predict images and write their files. It can be pickled, to work in another process.

    Attributes:
        predictor: predicts the faces.
        formats: the picture and mesh formats to write.
        draw: makes a picture of an image and its faces in the style of a name from `PICTURE_FORMATS`.
        neutral: write meshes without the expression.
    """

    predictor: FacePredictor
    formats: Sequence[str]
    draw: Draw
    neutral: bool = False
    _waiting: list[_Loaded] = field(default_factory=list, init=False, repr=False)

    def __call__(self, tasks: Iterable[ImageTask]) -> Iterator[Outcome]:
        """Yield the outcome of each task, in the order of the tasks except for failures.

        A failure of one image, even a lack of memory, does not affect the others.
        """
        self._waiting = []
        for task in tasks:
            try:
                self._waiting.append(self._load(task))
            except Exception as error:
                yield _failure(task, error)
            n_pixels = sum(one.image.shape[0] * one.image.shape[1] for one in self._waiting)
            if len(self._waiting) >= BATCH_IMAGES or n_pixels >= _BATCH_PIXELS:
                yield from self._predict_waiting()
        yield from self._predict_waiting()

    def _load(self, task: ImageTask) -> _Loaded:
        """Read an image and find its faces."""
        from synergy.images import count_frames, read_image

        warning = ""
        if (n_frames := count_frames(task.content)) > 1:
            warning = f"an animation, only the first of its {n_frames} pictures is used"
        try:
            image = read_image(task.content, task.name, self.predictor.max_pixels)
        except UserError:
            # Text on standard input has no byte of zero. It is probably a list of paths.
            if task.name != STDIN or not isinstance(task.content, bytes) or b"\0" in task.content:
                raise
            message = f"{STDIN}: not an image that can be read (- is one image; write paths into a .txt file)"
            raise UserError(message) from None
        boxes: Any = task.boxes
        found = self.predictor.detect(image) if boxes is None else self.predictor.given_boxes(image, boxes)
        return _Loaded(task, image, found, warning)

    def _predict_waiting(self) -> Iterator[Outcome]:
        """Predict the loaded images together, and one by one if that fails."""
        waiting, self._waiting = self._waiting, []
        try:
            predicted = self.predictor.predict_located([one.image for one in waiting], [one.found for one in waiting])
        except Exception as error:
            if len(waiting) == 1:
                yield _failure(waiting[0].task, error)
                return
            for one in waiting:
                self._waiting = [one]
                yield from self._predict_waiting()
            return
        for one, faces in zip(waiting, predicted, strict=True):
            try:
                kept = self.predictor.remove_unlikely(faces) if one.task.boxes is None else faces
                self._write_files(one, kept)
                yield Outcome(one.task, kept.to_dict()["faces"], kept.n_removed, one.warning)
            except Exception as error:
                yield _failure(one.task, error)

    def _write_files(self, loaded: _Loaded, faces: Sequence[Face]) -> None:
        """Write pictures, points and meshes of an image."""
        if not self.formats:
            return
        assert loaded.task.stage is not None
        from synergy.export import FaceMesh, write_pts
        from synergy.images import MAX_JPEG_SIDE, write_image

        image = loaded.image
        is_too_large = max(image.shape) > MAX_JPEG_SIDE
        stem = loaded.task.stage / output_stem(loaded.task.name)
        stem.parent.mkdir(parents=True, exist_ok=True)
        for kind in (kind for kind in PICTURE_FORMATS if kind in self.formats):
            # An image without a face has no picture but the overlay, which shows that none was found.
            if faces or kind == "overlay":
                suffix = ".png" if is_too_large else PICTURE_FORMATS[kind].suffix
                write_image(f"{stem}_{kind}{suffix}", self.draw(image, faces, kind))
        for i, face in enumerate(faces):
            if "pts" in self.formats:
                write_pts(f"{stem}_{i}.pts", face.landmarks68)
            mesh = FaceMesh(face, image, self.neutral)
            for kind in (kind for kind in MESH_FORMATS if kind in self.formats):
                mesh.write(f"{stem}_{i}.{kind}")


def _failure(task: ImageTask, error: Exception) -> Outcome:
    """Describe an error in one line that begins with the input's name."""
    return Outcome(
        task,
        failure=named(task.name, error),
        is_fatal=is_fatal(error),
    )


def input_key(settings: str, version: str, boxes: object) -> str:
    """Identify the content of an input and the settings.

    Args:
        settings: identifies everything but the input that determines the result.
        version: identifies the content (`Source.version`).
        boxes: given boxes, or None.
    """
    return digest([settings, version, boxes])


def digest(value: object) -> str:
    """Return 16 hex digits of a SHA-256 over a value that JSON can hold."""
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:16]


def named(name: str, error: BaseException) -> str:
    """Describe an error of an input in one line that begins with the input's name.

    Example:
        >>> named("a.jpg", ValueError("no faces")), named("a.jpg", ValueError("a.jpg: no faces"))
        ('a.jpg: no faces', 'a.jpg: no faces')
    """
    text = describe(error)
    return text if text.startswith(name) else f"{name}: {text}"
