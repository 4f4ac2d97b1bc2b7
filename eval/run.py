"""From a reader and a predictor to what a protocol scores: labels without images, and predictions in their order."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from eval.predictions import Predictions
from synergy.crop import landmark_box
from synergy.data.reader import NO_IMAGE, FaceReader, SampleError
from synergy.data.sample import FaceSample
from synergy.errors import UserError

BATCH = 64
Progress = Callable[[Iterable[int]], Iterable[int]]


class Predicted(NamedTuple):
    """Predictions for N samples.

    Attributes:
        landmarks68: (N, 68, 3 or 2) in image pixels.
        pose_deg: (N, 3) pitch, yaw and roll in degrees, or None.
        rotation: (N, 3, 3) the predicted rotations, from which the angles were taken, or None.
    """

    landmarks68: NDArray[np.floating]
    pose_deg: NDArray[np.floating] | None = None
    rotation: NDArray[np.floating] | None = None


class Predictor(Protocol):
    """Anything that can be scored; `crops` and `pose_from` are those of `Predictions`."""

    model_id: str
    crops: str
    pose_from: str

    def predict(self, samples: Sequence[FaceSample]) -> Predicted:
        """Predict the samples, whose images are given."""
        ...


@dataclass(frozen=True, eq=False)
class Collected:
    """What was read and predicted.

    Attributes:
        samples: the usable samples, images dropped.
        rows: (N,) the index of each in the reader.
        predictions: in the samples' order.
        seconds: time spent on predicting, images read included; 0 for given predictions.
    """

    samples: list[FaceSample]
    rows: NDArray[np.intp]
    predictions: Predictions
    seconds: float


def face_box(sample: FaceSample) -> NDArray[np.float32]:
    """The box (4,) whose sqrt(2) square is the crop to predict from: the source's own, else that of the landmarks."""
    return sample.box if sample.box is not None else landmark_box(sample.landmarks68).astype(np.float32)


def collect(
    reader: FaceReader,
    predictor: Predictor | Predictions,
    progress: Progress = iter,
    keep: Callable[[FaceSample], bool] = lambda _: True,
) -> Collected:
    """Read every sample, and predict where no predictions are given.

    Samples that cannot be read, whose box is empty or outside the image are noted in `reader.problems`; those that
    `keep` refuses, because the protocol has no use for their kind, are left out without a word.

    Raises:
        UserError: nothing usable is left, or given predictions do not cover it.
    """
    started = time.perf_counter()
    given = predictor if isinstance(predictor, Predictions) else None
    samples: list[FaceSample] = []
    rows: list[int] = []
    parts: list[Predicted] = []
    for batch in _batches(reader, progress, keep, image=given is None):
        if not isinstance(predictor, Predictions):
            parts.append(predictor.predict([sample for _, sample in batch]))
        rows += [row for row, _ in batch]
        samples += [replace(sample, image=NO_IMAGE) for _, sample in batch]
    if not samples:
        first = "".join(f": {problem.name}: {problem.reason}" for problem in reader.problems[:1])
        raise UserError(f"{reader.tree.path}: none of its {len(reader)} samples can be scored{first}")
    names = tuple(sample.name for sample in samples)
    if isinstance(predictor, Predictions):
        return Collected(samples, np.array(rows), predictor.of(names), 0.0)
    landmarks, pose_deg, rotation = (_joined(column) for column in zip(*parts, strict=True))
    assert landmarks is not None
    predictions = Predictions(
        names, landmarks, pose_deg, predictor.model_id, predictor.crops, predictor.pose_from, rotation
    )
    return Collected(samples, np.array(rows), predictions, time.perf_counter() - started)


def _joined(arrays: Sequence[NDArray[np.floating] | None]) -> NDArray[np.float32] | None:
    known = [array for array in arrays if array is not None]
    return np.concatenate(known).astype(np.float32) if known else None


def _batches(
    reader: FaceReader, progress: Progress, keep: Callable[[FaceSample], bool], image: bool
) -> Iterator[list[tuple[int, FaceSample]]]:
    batch: list[tuple[int, FaceSample]] = []
    for row in progress(range(len(reader))):
        try:
            sample = reader.read(row, image)
            if not keep(sample):
                continue
            _check_box(sample)
        except SampleError as error:
            reader.skip(reader.names[row], str(error))
            continue
        batch.append((row, sample))
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _check_box(sample: FaceSample) -> None:
    if np.isfinite(sample.landmarks68[:, :2]).all(-1).sum() < 2:
        raise SampleError("fewer than two of its landmarks are known")
    x0, y0, x1, y1 = face_box(sample).tolist()
    if not (x1 > x0 and y1 > y0):
        raise SampleError("the box around its landmarks is empty")
    height, width = sample.image.shape[:2]
    if height and (x1 < 0 or y1 < 0 or x0 > width - 1 or y0 > height - 1):
        raise SampleError(f"its landmarks lie outside the {width}x{height} image")
