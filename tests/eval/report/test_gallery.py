from pathlib import Path

import numpy as np
import pytest

from eval.predictions import Predictions
from eval.protocols.landmarks2d import score_300w
from eval.report.gallery import gallery, ranked_groups
from eval.run import collect
from synergy.data import PtsReader


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
