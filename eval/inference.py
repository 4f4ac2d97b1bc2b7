"""Read a data set and predict its samples, or look up given predictions of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from eval.predictions import Predictions
from synergy.crop import landmark_box
from synergy.data.reader import NO_IMAGE, FaceReader, SampleError
from synergy.data.sample import FaceSample
from synergy.errors import UserError
from synergy.predictor import MAX_COORDINATE

BATCH_SIZE = 64
# Passes numbers through, and shows how many of them are done.
Progress = Callable[[Iterable[int]], Iterable[int]]
Keep = Callable[[FaceSample], bool]


class PredictedBatch(NamedTuple):
    """Predictions for N samples.

    Attributes:
        landmarks68: (N, 68, 3 or 2) in image pixels.
        pose_deg: (N, 3) pitch, yaw and roll in degrees, or None.
        rotation: (N, 3, 3) the predicted rotations from which the angles were computed, or None.
        dense_errors: (N, 2) dense errors in percent (`eval.dense`), or None.
        landmarks68_std: (N, 68) standard deviations in image pixels (`synergy.face.Face`), or None.
        rotation_covariance: (N, 3, 3) in radians squared (`synergy.face.Face`), or None.
    """

    landmarks68: NDArray[np.floating]
    pose_deg: NDArray[np.floating] | None = None
    rotation: NDArray[np.floating] | None = None
    dense_errors: NDArray[np.floating] | None = None
    landmarks68_std: NDArray[np.floating] | None = None
    rotation_covariance: NDArray[np.floating] | None = None


class Predictor(Protocol):
    """Anything that can be evaluated.

    Attributes:
        model_id: name for tables and files.
        crops: the crops that it uses, a value of `eval.baselines.Baseline.crops`.
        pose_from: how it computes angles, a value of `eval.baselines.Baseline.pose_from`.
    """

    model_id: str
    crops: str
    pose_from: str

    def predict(self, samples: Sequence[FaceSample]) -> PredictedBatch:
        """Predict samples with images."""
        ...


@dataclass(frozen=True, eq=False)
class PredictedDataset:
    """The usable samples of a data set and their predictions.

    Attributes:
        samples: N samples, without their images.
        rows: (N,) index of each sample in the reader.
        predictions: in the order of the samples.
        seconds: time spent on reading and predicting; 0 for given predictions.
        dense_errors: (N, 2) dense errors in percent (`eval.dense`), or None.
    """

    samples: list[FaceSample]
    rows: NDArray[np.intp]
    predictions: Predictions
    seconds: float = 0.0
    dense_errors: NDArray[np.floating] | None = None


def face_box(sample: FaceSample) -> NDArray[np.float32]:
    """Return the box (4,) from which the crop is made: the one that the data set states, else that of the landmarks."""
    return sample.box if sample.box is not None else landmark_box(sample.landmarks68).astype(np.float32)


def predict_dataset(
    reader: FaceReader, predictor: Predictor, progress: Progress = iter, keep: Keep = lambda _: True
) -> PredictedDataset:
    """Read and predict every usable sample.

    Samples that cannot be read, or whose box is empty or outside the image, are added to `reader.problems`.

    Args:
        reader: the data set.
        predictor: the predictor.
        progress: wraps the row numbers, to show progress.
        keep: selects the samples that the protocol can score. The others are left out and are not problems. It raises
            `SampleError` for a broken sample, and `UserError` if the data set is of the wrong kind.

    Raises:
        UserError: no sample is usable.
    """
    started = time.perf_counter()
    samples: list[FaceSample] = []
    rows: list[int] = []
    batches: list[PredictedBatch] = []
    usable = _usable_samples(reader, progress, keep, image=True)
    while chunk := list(islice(usable, BATCH_SIZE)):
        batches.append(predictor.predict([sample for _, sample in chunk]))
        rows += [row for row, _ in chunk]
        samples += [replace(sample, image=NO_IMAGE) for _, sample in chunk]
    names = _names(samples, reader)
    arrays = (_concatenate(arrays) for arrays in zip(*batches, strict=True))
    landmarks, pose_deg, rotation, dense_errors, std, covariance = arrays
    assert landmarks is not None
    facts = (predictor.model_id, predictor.crops, predictor.pose_from)
    predictions = Predictions(names, landmarks, pose_deg, *facts, rotation, std, covariance)
    return PredictedDataset(samples, np.array(rows), predictions, time.perf_counter() - started, dense_errors)


def match_predictions(
    reader: FaceReader, predictions: Predictions, progress: Progress = iter, keep: Keep = lambda _: True
) -> PredictedDataset:
    """Read the labels of every usable sample and look up its given prediction; see `predict_dataset`.

    Raises:
        UserError: no sample is usable, or one has no prediction.
    """
    pairs = list(_usable_samples(reader, progress, keep, image=False))
    samples = [sample for _, sample in pairs]
    return PredictedDataset(samples, np.array([row for row, _ in pairs]), predictions.select(_names(samples, reader)))


def _names(samples: Sequence[FaceSample], reader: FaceReader) -> tuple[str, ...]:
    if not samples:
        first = "".join(f": {problem}" for problem in reader.problems[:1])
        raise UserError(f"{reader.tree.path}: none of its {len(reader)} samples can be scored{first}")
    return tuple(sample.name for sample in samples)


def _concatenate(arrays: Sequence[NDArray[np.floating] | None]) -> NDArray[np.float32] | None:
    known = [array for array in arrays if array is not None]
    return np.concatenate(known).astype(np.float32) if known else None


def _usable_samples(
    reader: FaceReader, progress: Progress, keep: Keep, image: bool
) -> Iterator[tuple[int, FaceSample]]:
    for row in progress(range(len(reader))):
        try:
            sample = reader.read(row, image)
            if not keep(sample):
                continue
            _check_box(sample)
        except SampleError as error:
            reader.skip(reader.names[row], str(error))
            continue
        yield row, sample


def _check_box(sample: FaceSample) -> None:
    if np.isfinite(sample.landmarks68[:, :2]).all(-1).sum() < 2:
        raise SampleError("fewer than two of its landmarks are known")
    x0, y0, x1, y1 = face_box(sample).tolist()
    if not (x1 > x0 and y1 > y0):
        raise SampleError("the box around its landmarks is empty")
    if max(-x0, -y0, x1, y1) > MAX_COORDINATE:
        raise SampleError(f"its landmarks lie beyond {MAX_COORDINATE:g} pixels")
    height, width = sample.image.shape[:2]
    if height and (x1 < 0 or y1 < 0 or x0 > width - 1 or y0 > height - 1):
        raise SampleError(f"its landmarks lie outside the {width}x{height} image")
