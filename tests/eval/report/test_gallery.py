import re
from pathlib import Path

import numpy as np
import pytest

from eval.network import NetworkPredictor
from eval.predictions import Predictions
from eval.protocols.landmarks2d import score_300w
from eval.report.gallery import Meshes, gallery, ranked_groups
from eval.run import collect
from synergy.data import PtsReader
from synergy.models import SynergyNet
from synergy.predictor import FacePredictor
from synergy.raster import Fragments, rasterize


def test_groups_are_ranked() -> None:
    worst, median, best = ranked_groups(np.array([3.0, np.nan, 1, 2, 5, 4, 6]), count=2)
    assert (worst.title, worst.indices) == ("Worst", (6, 4))
    assert (median.title, median.indices) == ("Median", (0, 5))
    assert (best.title, best.indices) == ("Best", (2, 3))


def test_few_samples_fill_no_group_twice() -> None:
    assert [group.indices for group in ranked_groups(np.array([1.0]))] == [(0,), (0,), (0,)]


def test_cards_show_picture_points_and_figures(pts_folder: Path, exact: Predictions) -> None:
    reader = PtsReader(pts_folder)
    collected = collect(reader, exact)
    outcome = score_300w(collected.samples, collected.predictions)
    (group, *_) = ranked_groups(outcome.errors["inter_ocular.all68"], count=2)
    page = gallery(outcome, reader, collected.rows, group)
    assert page.count("data:image/jpeg;base64,") == 2
    assert page.count('<g class="true">') == page.count('<g class="predicted">') == 2
    assert page.count("<circle") == 2 * 2 * 68
    assert all(outcome.samples[i].name in page for i in group.indices)


def test_an_image_that_went_away_is_said(pts_folder: Path, exact: Predictions) -> None:
    reader = PtsReader(pts_folder)
    collected = collect(reader, exact)
    outcome = score_300w(collected.samples, collected.predictions)
    (pts_folder / "image00000.jpg").write_bytes(b"")
    (group,) = [group for group in ranked_groups(np.arange(6.0)) if group.title == "Best"]
    page = gallery(outcome, reader, collected.rows, group)
    assert "the image file is empty" in page
    assert page.count("data:image/jpeg") == pytest.approx(5)


def test_meshes_are_drawn_over_the_pictures_by_the_given_rasterizer(
    pts_folder: Path, exact: Predictions, small_net: SynergyNet
) -> None:
    calls: list[tuple[int, int]] = []

    def counting(points: np.ndarray, triangles: np.ndarray, height: int, width: int) -> Fragments:
        calls.append((height, width))
        return rasterize(points, triangles, height, width)

    reader = PtsReader(pts_folder)
    collected = collect(reader, exact)
    outcome = score_300w(collected.samples, collected.predictions)
    (group, *_) = ranked_groups(outcome.errors["inter_ocular.all68"], count=2)
    meshes = Meshes(NetworkPredictor(FacePredictor(small_net)).face, counting)
    page = gallery(outcome, reader, collected.rows, group, meshes)
    assert calls == [(240, 240)] * 2
    pictures = re.findall(r'<img (class="mesh" )?alt="" src="data:image/jpeg;base64,([^"]*)"', page)
    assert [bool(mesh) for mesh, _ in pictures] == [False, True] * 2
    assert pictures[0][1] != pictures[1][1]
