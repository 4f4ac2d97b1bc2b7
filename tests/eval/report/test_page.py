import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from eval.inference import match_predictions
from eval.network import NetworkPredictor
from eval.predictions import Predictions
from eval.protocols import aflw2000, jvcr
from eval.report.gallery import MeshOverlay
from eval.report.page import render, write_report
from eval.result import ProtocolResult
from synergy.data import AFLW2000Reader
from synergy.errors import UserError
from synergy.models import SynergyNet
from synergy.predictor import FacePredictor
from synergy.raster import rasterize

VOID = {"meta", "link", "img", "br", "input"}


class Balanced(HTMLParser):
    """Fails where tags do not nest."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.headings: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "h2":
            self.headings.append(data)


@pytest.fixture
def facts() -> dict[str, object]:
    return {
        "model_id": "<b>peer</b>",
        "command": "synergy eval aflw2000-3d --data 'a & b'",
        "data_hash": "0123456789abcdef",
        "skipped": [{"name": "x.jpg", "reason": "not a <readable> image"}],
    }


def page_of(folder: Path, exact: Predictions, result: ProtocolResult, facts: dict[str, object]) -> str:
    reader = AFLW2000Reader(folder)
    dataset = match_predictions(reader, exact)
    return render(replace(result, scores={**result.scores, **facts}), reader, dataset.rows)


def test_the_page_is_complete_valid_and_loads_nothing(
    aflw2000_folder: Path, exact: Predictions, facts: dict[str, object]
) -> None:
    dataset = match_predictions(AFLW2000Reader(aflw2000_folder), exact)
    result = aflw2000.score(dataset.samples, exact)
    page = page_of(aflw2000_folder, exact, result, facts)
    parser = Balanced()
    parser.feed(page)
    assert parser.open == []
    assert parser.headings == ["Scores", "Error distribution", "Error by landmark", "Head pose", "Faces", "Run details"]
    for link in re.findall(r'(?:href|src)="([^"]*)"', page):
        assert link.startswith(("#", "data:")), link
    assert "url(http" not in page
    assert "@import" not in page
    assert "prefers-color-scheme: dark" in page
    assert "&lt;b&gt;peer&lt;/b&gt;" in page
    assert "<b>peer" not in page
    assert "a &amp; b" in page
    assert "not a &lt;readable&gt; image" in page
    assert "SynergyNet (3DV 2021)" in page
    assert page.count("data:image/jpeg;base64,") == 3 * 6  # six faces in each of three groups
    assert page.count('<g class="true">') == page.count('<g class="predicted">') == 3 * 6
    assert page.count("<circle") == 3 * 6 * 2 * 68
    assert 'data-layer="mesh"' not in page


def test_meshes_have_a_layer_that_is_hidden_at_first(
    aflw2000_folder: Path, exact: Predictions, small_net: SynergyNet
) -> None:
    reader = AFLW2000Reader(aflw2000_folder)
    dataset = match_predictions(reader, exact)
    overlay = MeshOverlay(NetworkPredictor(FacePredictor(small_net)).face, rasterize)
    page = render(aflw2000.score(dataset.samples, exact), reader, dataset.rows, overlay)
    assert page.count('<img class="mesh"') == 3 * 6
    assert 'data-layer="mesh">' in page  # not checked
    assert 'data-layer="true" checked>' in page
    assert '<html lang="en" class="hide-mesh">' in page


def test_voxels_have_their_section(aflw2000_folder: Path, exact: Predictions, facts: dict[str, object]) -> None:
    dataset = match_predictions(AFLW2000Reader(aflw2000_folder), exact)
    page = page_of(aflw2000_folder, exact, jvcr.score(dataset.samples, exact), facts)
    parser = Balanced()
    parser.feed(page)
    assert "Volumes" in parser.headings
    assert '<canvas id="volume"' in page
    assert page.count('class="cloud"') == 3


def test_volumes_of_a_network_need_the_picture(
    aflw2000_folder: Path, exact: Predictions, facts: dict[str, object]
) -> None:
    dataset = match_predictions(AFLW2000Reader(aflw2000_folder), exact)
    for path in aflw2000_folder.glob("*.jpg"):
        path.write_bytes(b"")
    page = page_of(aflw2000_folder, exact, jvcr.score(dataset.samples, exact), facts)
    assert page.count("the image file is empty") == 3 * 6
    assert page.count('class="cloud"') == 3


def test_a_folder_that_cannot_be_made_is_one_line(aflw2000_folder: Path, exact: Predictions, tmp_path: Path) -> None:
    reader = AFLW2000Reader(aflw2000_folder)
    dataset = match_predictions(reader, exact)
    result = aflw2000.score(dataset.samples, exact)
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="cannot be written there"):
        write_report(result, reader, dataset.rows, tmp_path / "file" / "report")
    path = write_report(result, reader, dataset.rows, tmp_path / "a" / "b")
    assert path.read_text(encoding="utf-8").startswith("<!doctype html>")
