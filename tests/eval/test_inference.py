from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from eval.inference import BATCH_SIZE, PredictedBatch, face_box, match_predictions, predict_dataset
from eval.predictions import Predictions
from synergy.data import PtsReader
from synergy.data.sample import FaceSample
from synergy.errors import UserError


class Offset:
    """A predictor whose landmarks are one pixel off the labels."""

    model_id = "offset"
    crops = "ours"
    pose_from = "true rotation"

    def __init__(self) -> None:
        self.batches: list[int] = []

    def predict(self, samples: Sequence[FaceSample]) -> PredictedBatch:
        self.batches.append(len(samples))
        assert all(sample.image.shape == (120, 120, 3) for sample in samples)
        return PredictedBatch(np.stack([sample.landmarks68 + np.float32(1) for sample in samples]))


def test_samples_and_predictions_have_the_same_order(pts_folder: Path) -> None:
    predictor = Offset()
    dataset = predict_dataset(PtsReader(pts_folder), predictor)
    assert predictor.batches == [6]
    assert BATCH_SIZE >= 6
    assert dataset.predictions.names == tuple(sample.name for sample in dataset.samples)
    for sample, points in zip(dataset.samples, dataset.predictions.landmarks68, strict=True):
        assert points == pytest.approx(sample.landmarks68 + 1)
        assert sample.image.size == 0  # images are not kept
    assert dataset.rows.tolist() == list(range(6))
    assert dataset.seconds > 0


def test_given_predictions_are_matched_by_name(pts_folder: Path, exact: Predictions) -> None:
    shuffled = exact.select(exact.names[::-1])
    dataset = match_predictions(PtsReader(pts_folder), shuffled)
    assert (dataset.predictions.landmarks68 == exact.landmarks68).all()


def test_mismatched_names_are_an_error(pts_folder: Path, exact: Predictions) -> None:
    with pytest.raises(UserError, match=r"lack 1 of 6 images, the first of them image00005\.jpg"):
        match_predictions(PtsReader(pts_folder), exact.select(exact.names[:5]))


def test_unusable_samples_are_counted(pts_folder: Path, exact: Predictions) -> None:
    flat = "{\n" + "5 5\n" * 68 + "}\n"
    beyond = "{\n" + "".join(f"{i} {i * 1e5}\n" for i in range(68)) + "}\n"
    far = "{\n" + "".join(f"{i + 900} {i + 900}\n" for i in range(68)) + "}\n"
    (pts_folder / "image00000.pts").write_text(flat)
    (pts_folder / "image00001.pts").write_text("")
    (pts_folder / "image00002.pts").write_text(far)
    (pts_folder / "image00003.pts").write_text(beyond)
    reader = PtsReader(pts_folder)
    dataset = predict_dataset(reader, Offset())
    assert dataset.rows.tolist() == [4, 5]
    reasons = [problem.reason for problem in reader.problems]
    assert reasons == [
        "the box around its landmarks is empty",
        "image00001.pts is not a complete .pts file: no points between braces",
        "its landmarks lie outside the 120x120 image",
        "its landmarks lie beyond 1e+06 pixels",
    ]


def test_nothing_usable_is_an_error(pts_folder: Path) -> None:
    for path in pts_folder.glob("*.pts"):
        path.write_text("")
    with pytest.raises(UserError, match=r"none of its 6 samples can be scored: image00000\.jpg"):
        predict_dataset(PtsReader(pts_folder), Offset())


def test_samples_that_the_protocol_cannot_score_are_no_problems(pts_folder: Path) -> None:
    reader = PtsReader(pts_folder)
    dataset = predict_dataset(reader, Offset(), keep=lambda sample: sample.name != "image00003.jpg")
    assert len(dataset.samples) == 5
    assert reader.problems == []


def test_the_box_of_the_data_set_is_preferred(samples: list[FaceSample]) -> None:
    assert face_box(samples[0]).tolist() == [20, 20, 100, 100]
