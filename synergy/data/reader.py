"""What all readers share: random access, and iteration that reports broken files, counts them and goes on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import ArrayLike, NDArray

from synergy.crop import LANDMARK_MARGIN
from synergy.data.filetree import FileTree
from synergy.data.image import decode_image
from synergy.data.sample import UNLABELLED, VISIBLE, FaceSample
from synergy.errors import UserError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp")
CROP_SIZE = 120  # of 3DDFA's crops
NO_IMAGE: NDArray[np.uint8] = np.empty((0, 0, 3), np.uint8)


class SampleError(ValueError):
    """One file that cannot be used, with the one line that says why."""


@dataclass(frozen=True)
class Problem:
    """A file that was skipped, and why."""

    name: str
    reason: str


class FaceReader(ABC):
    """A data set as a sequence of `FaceSample`.

    `reader.read(i)` raises `SampleError` for a broken file; `for sample in reader` skips it and appends to
    `reader.problems`.

    Attributes:
        names: the names of the samples, in order.
        is_cropped: whether the images are face crops. The `box` of a sample is then the one whose square crop
            (`synergy.crop.square_crop`) is the training crop.
    """

    source: str
    licence: str
    is_cropped: bool = False

    def __init__(self, path: str | Path) -> None:
        self.tree = FileTree(path)
        self._problems: dict[str, Problem] = {}
        self.names: tuple[str, ...] = tuple(self._find())
        if not self.names:
            first = "".join(f" ({problem.name}: {problem.reason})" for problem in self.problems[:1])
            raise UserError(f"{path}: nothing to read as {self.source}; looked for {self._wanted()}{first}")

    @abstractmethod
    def _find(self) -> list[str]:
        """The sample names in the tree."""

    @abstractmethod
    def _wanted(self) -> str:
        """What `_find` looks for, as one phrase."""

    @abstractmethod
    def _read(self, name: str, image: bool) -> FaceSample:
        """One sample; `SampleError`, `ValueError` or `OSError` in one line when it is broken."""

    @property
    def problems(self) -> list[Problem]:
        """Files skipped so far, each once. What can be seen without opening a file is there from the start."""
        return list(self._problems.values())

    def digest(self) -> str:
        """First 16 hex digits of a SHA-256 over the label files: identifies the data in a result."""
        return self.tree.digest(self._label_files())

    def _label_files(self) -> list[str]:
        stems = {stem(name) for name in self.names}
        return [name for name in self.tree.names if stem(name) in stems and not name.lower().endswith(IMAGE_SUFFIXES)]

    def __len__(self) -> int:
        return len(self.names)

    def read(self, index: int, image: bool = True) -> FaceSample:
        """Sample `index`; with `image=False` its image is empty (0, 0, 3) and is not decoded."""
        name = self.names[index]
        try:
            return self._read(name, image)
        except SampleError:
            raise
        except (ValueError, OSError) as error:
            raise SampleError(str(error)) from None

    def __iter__(self) -> Iterator[FaceSample]:
        return self.samples()

    def samples(self, image: bool = True) -> Iterator[FaceSample]:
        """All readable samples; see `read`."""
        for index, name in enumerate(self.names):
            try:
                sample = self.read(index, image)
            except SampleError as error:
                self.skip(name, str(error))
            else:
                yield sample

    def skip(self, name: str, reason: str) -> None:
        """Note a file that is left out, once."""
        self._problems.setdefault(name, Problem(name, reason))

    def _image(self, name: str, wanted: bool) -> NDArray[np.uint8]:
        return decode_image(self.tree.read(name)) if wanted else NO_IMAGE


def stem(name: str) -> str:
    """A name without its suffix."""
    return str(PurePosixPath(name).with_suffix(""))


def checked_points(points: ArrayLike, count: int, dims: tuple[int, ...], what: str) -> NDArray[np.float32]:
    """Points as (count, d) float32 with d in `dims`, all finite, or `SampleError` in one line."""
    array = np.asarray(points, np.float64)
    if array.ndim != 2 or array.shape[0] != count or array.shape[1] not in dims:
        wanted = " or ".join(f"{count}x{d}" for d in dims)
        raise SampleError(f"{what} is {'x'.join(map(str, array.shape)) or 'a scalar'}, expected {wanted}")
    if not np.isfinite(array).all():
        raise SampleError(f"{what} has values that are not finite")
    return array.astype(np.float32)


def box_of_crop(height: int, width: int) -> NDArray[np.float32]:
    """The box (4,) whose sqrt(2) square is a whole crop: for sources whose images are 3DDFA's crops already."""
    centre = np.array([width - 1, height - 1]) / 2
    half = max(height, width) / LANDMARK_MARGIN / 2
    return np.concatenate([centre - half, centre + half]).astype(np.float32)


def visibility_of(landmarks: NDArray[np.float32]) -> NDArray[np.int8]:
    """VISIBLE where a (68, d) point is known, UNLABELLED where it is NaN: for sources that do not state visibility."""
    return np.where(np.isnan(landmarks[:, 0]), UNLABELLED, VISIBLE).astype(np.int8)
