import base64
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from eval.inference import match_predictions
from eval.network import NetworkPredictor
from eval.predictions import Predictions
from eval.protocols import aflw2000
from eval.protocols.landmarks2d import score_300w
from eval.report.gallery import FaceCard, MeshOverlay, face_card, rank_samples
from synergy.data import AFLW2000Reader, PtsReader
from synergy.data.sample import FaceSample
from synergy.landmarks import CONTOURS
from synergy.models import SynergyNet
from synergy.predictor import FacePredictor
from synergy.raster import Fragments, rasterize


def card(folder: Path, predictions: Predictions, index: int, overlay: MeshOverlay | None = None) -> FaceCard:
    """The card of one face of a 300-W folder, whose errors are all known."""
    reader = PtsReader(folder)
    dataset = match_predictions(reader, predictions)
    result = score_300w(dataset.samples, dataset.predictions)
    return face_card(result, index, reader, int(dataset.rows[index]), overlay)


def picture(url: str) -> np.ndarray:
    prefix, data = url.split(",")
    assert prefix == "data:image/jpeg;base64"
    return cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR)


def test_samples_are_ranked() -> None:
    groups = rank_samples(np.array([3.0, np.nan, 1, 2, 5, 4, 6]), count=2)
    assert groups == {"Worst": [6, 4], "Median": [0, 5], "Best": [2, 3]}


def test_few_samples_occur_once_in_each_group() -> None:
    assert rank_samples(np.array([1.0])) == {"Worst": [0], "Median": [0], "Best": [0]}


def test_a_card_has_picture_landmarks_and_error(pts_folder: Path, exact: Predictions) -> None:
    shown = card(pts_folder, exact, 2)
    assert shown.name == "image00002.jpg"
    assert float(shown.error) > 1  # `exact` is one pixel off
    assert shown.yaw == ""  # 300-W states none
    assert picture(shown.picture).shape == (240, 240, 3)
    assert shown.mesh == ""
    assert shown.true is not None
    assert shown.predicted is not None
    zoom = 240 / 1.45 / np.ptp(exact.landmarks68[2, :, :2], 0).max()
    shift = np.array(shown.predicted.points) - shown.true.points
    assert shift == pytest.approx(np.full((68, 2), zoom), abs=0.11)  # one pixel right and down, rounded
    assert len(shown.true.open_curves) + len(shown.true.closed_curves) == len(CONTOURS)


def test_aflw2000s_true_points_are_drawn_in_pixels_of_the_image(
    aflw2000_folder: Path, exact: Predictions, samples: list[FaceSample]
) -> None:
    reader = AFLW2000Reader(aflw2000_folder)
    in_pixels = replace(exact, landmarks68=np.stack([sample.landmarks68 for sample in samples]))
    dataset = match_predictions(reader, in_pixels)
    shown = face_card(aflw2000.score(dataset.samples, dataset.predictions), 2, reader, int(dataset.rows[2]), None)
    assert float(shown.error) > 1  # the labels are compared as they are stored, one pixel off
    assert shown.true is not None
    assert shown.predicted is not None
    assert np.array(shown.true.points) == pytest.approx(np.array(shown.predicted.points), abs=0.11)


def test_an_image_that_was_removed_is_reported(pts_folder: Path, exact: Predictions) -> None:
    reader = PtsReader(pts_folder)
    dataset = match_predictions(reader, exact)
    result = score_300w(dataset.samples, dataset.predictions)
    (pts_folder / "image00000.jpg").write_bytes(b"")
    shown = face_card(result, 0, reader, 0, None)
    assert "the image file is empty" in shown.problem
    assert shown.picture == ""


def test_meshes_are_drawn_over_the_pictures_by_the_given_rasterizer(
    pts_folder: Path, exact: Predictions, small_net: SynergyNet
) -> None:
    calls: list[tuple[int, int]] = []

    def counting(points: np.ndarray, triangles: np.ndarray, height: int, width: int) -> Fragments:
        calls.append((height, width))
        return rasterize(points, triangles, height, width)

    overlay = MeshOverlay(NetworkPredictor(FacePredictor(small_net)).face, counting)
    shown = card(pts_folder, exact, 0, overlay)
    [(height, width)] = calls
    assert 0 < height <= 240
    assert 0 < width <= 240
    assert np.abs(picture(shown.mesh).astype(int) - picture(shown.picture)).max() > 20
