"""The base class of all readers, and helpers for them.

Readers give random access, and an iteration that skips broken files and keeps a list of them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from synergy.crop import LANDMARK_MARGIN, landmark_box
from synergy.data.filetree import FileTree
from synergy.data.image import decode_image
from synergy.data.sample import UNLABELLED, VISIBLE, FaceSample
from synergy.errors import UserError, printable

DATASET_IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp")
CROP_SIZE = 120  # side of 3DDFA's crops in pixels
# The image of samples that are read without their image.
NO_IMAGE: NDArray[np.uint8] = np.empty((0, 0, 3), np.uint8)


class SampleError(ValueError):
    """A file of a data set cannot be used. The message is one line."""


@dataclass(frozen=True)
class Problem:
    """A file that was skipped.

    Attributes:
        name: of the file.
        reason: why it was skipped, in one line.
    """

    name: str
    reason: str

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}"


class FaceReader(ABC):
    """A data set as a sequence of `FaceSample`.

    `read` raises `SampleError` for a broken file. Iteration skips it and adds it to `problems`.

    A reader of another data set implements `_find`, `_wanted` and `_read`.

    Args:
        path: folder, tar or zip of the data set.

    Raises:
        UserError: there is nothing to read.

    Attributes:
        source: name of the data set.
        licence: its terms in one line.
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
            first = "".join(f" ({problem})" for problem in self.problems[:1])
            raise UserError(f"{path}: nothing to read as {self.source}; looked for {self._wanted()}{first}")

    @abstractmethod
    def _find(self) -> list[str]:
        """Return the names of the samples in the tree. It may call `skip`."""

    @abstractmethod
    def _wanted(self) -> str:
        """Return what `_find` looks for, as a phrase for error messages."""

    @abstractmethod
    def _read(self, name: str, image: bool) -> FaceSample:
        """Read a sample. Raise `SampleError`, `ValueError` or `OSError` with one line if it is broken."""

    @property
    def problems(self) -> list[Problem]:
        """The files skipped so far, each once. Files that `_find` skips are in it from the start."""
        return list(self._problems.values())

    def digest(self) -> str:
        """Return the first 16 hex digits of a SHA-256 over the label files. Results record it to identify the data."""
        return self.tree.digest(self._label_files())

    def _label_files(self) -> list[str]:
        stems = {stem(name) for name in self.names}
        return [
            name
            for name in self.tree.names
            if stem(name) in stems and not name.lower().endswith(DATASET_IMAGE_SUFFIXES)
        ]

    def __len__(self) -> int:
        return len(self.names)

    def read(self, index: int, image: bool = True) -> FaceSample:
        """Read a sample.

        Args:
            index: of the sample in `names`.
            image: whether the image is decoded. Otherwise it is an empty array (0, 0, 3).

        Raises:
            SampleError: the sample cannot be used.
        """
        name = self.names[index]
        try:
            return self._read(name, image)
        # SampleError is one of them. The names of files in an archive may hold line breaks.
        except (ValueError, OSError) as error:
            raise SampleError(printable(str(error))) from None

    def __iter__(self) -> Iterator[FaceSample]:
        return self.samples()

    def box_of(self, sample: FaceSample) -> NDArray[np.floating]:
        """Return the box (4,) of a sample whose square crop is the training crop; NaN if it is unknown.

        It is the stated box of face crops, and the box of the known landmarks otherwise. A stated box is also used
        where no landmark is known.
        """
        is_unknown = not np.isfinite(sample.landmarks68[:, :2]).all(1).any()
        if sample.box is not None and (self.is_cropped or is_unknown):
            return sample.box
        return landmark_box(sample.landmarks68)

    def samples(self, image: bool = True) -> Iterator[FaceSample]:
        """Iterate over all samples that can be used. See `read` for `image`."""
        for index, name in enumerate(self.names):
            try:
                sample = self.read(index, image)
            except SampleError as error:
                self.skip(name, str(error))
            else:
                yield sample

    def skip(self, name: str, reason: str) -> None:
        """Add a file to `problems`, if it is not in it."""
        self._problems.setdefault(name, Problem(name, reason))

    def _sample(self, name: str, image: NDArray[np.uint8], landmarks: NDArray[np.float32], **known: Any) -> FaceSample:
        """Return a sample of a data set that does not state visibility: all known landmarks count as visible.

        Args:
            name: its name.
            image: (H, W, 3) uint8 RGB.
            landmarks: (68, 2) or (68, 3) in pixels, NaN where unknown.
            **known: further attributes of `FaceSample`.
        """
        return FaceSample(
            name=name,
            image=image,
            landmarks68=landmarks,
            visibility68=np.where(np.isnan(landmarks[:, 0]), UNLABELLED, VISIBLE).astype(np.int8),
            source=self.source,
            licence=self.licence,
            **known,
        )

    def _image(self, name: str, wanted: bool) -> NDArray[np.uint8]:
        return decode_image(self.tree.read(name)) if wanted else NO_IMAGE


def stem(name: str) -> str:
    """Remove the suffix of a name.

    Example:
        >>> stem("AFW/1051618982_1.jpg")
        'AFW/1051618982_1'
    """
    return str(PurePosixPath(name).with_suffix(""))


def checked_points(points: ArrayLike, count: int, dims: int, what: str) -> NDArray[np.float32]:
    """Check the shape and the values of points.

    Args:
        points: the points of a file.
        count: expected number of points.
        dims: expected number of coordinates.
        what: what the points are, for error messages.

    Returns:
        (count, dims) float32.

    Raises:
        SampleError: another shape, or values that are not finite.
    """
    with np.errstate(over="ignore"):  # a number that float32 cannot hold becomes infinite
        array = np.asarray(points, np.float64).astype(np.float32)
    if array.shape != (count, dims):
        raise SampleError(f"{what} is {'x'.join(map(str, array.shape)) or 'a scalar'}, expected {count}x{dims}")
    if not np.isfinite(array).all():
        raise SampleError(f"{what} has values that are not finite")
    return array


def box_of_crop() -> NDArray[np.float32]:
    """Return the box whose square crop is the whole image, for images that are 3DDFA's crops of 120 x 120 pixels.

    Returns:
        (4,) float32 x0, y0, x1, y1 in pixels.

    Example:
        >>> from synergy.crop import square_crop
        >>> bool(np.allclose(square_crop(box_of_crop(), size=120), np.eye(2, 3), atol=1e-5))
        True
    """
    centre, half = (CROP_SIZE - 1) / 2, CROP_SIZE / LANDMARK_MARGIN / 2
    return np.repeat([centre - half, centre + half], 2).astype(np.float32)
