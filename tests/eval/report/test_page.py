import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from eval.outcome import Outcome
from eval.predictions import Predictions
from eval.protocols import aflw2000, voxels
from eval.report.page import render, write_report
from eval.run import collect
from synergy.data import AFLW2000Reader
from synergy.errors import UserError

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


def page_of(folder: Path, exact: Predictions, outcome: Outcome, facts: dict[str, object]) -> str:
    reader = AFLW2000Reader(folder)
    collected = collect(reader, exact)
    return render(replace(outcome, results={**outcome.results, **facts}), reader, collected.rows)


def test_the_page_is_whole_and_loads_nothing(
    aflw2000_folder: Path, exact: Predictions, facts: dict[str, object]
) -> None:
    collected = collect(AFLW2000Reader(aflw2000_folder), exact)
    outcome = aflw2000.score(collected.samples, exact)
    page = page_of(aflw2000_folder, exact, outcome, facts)
    parser = Balanced()
    parser.feed(page)
    assert parser.open == []
    wanted = ["Figures", "How the errors are spread", "Where on the face", "Head pose", "Faces", "What made this page"]
    assert parser.headings == wanted
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


def test_voxels_have_their_section(aflw2000_folder: Path, exact: Predictions, facts: dict[str, object]) -> None:
    collected = collect(AFLW2000Reader(aflw2000_folder), exact)
    page = page_of(aflw2000_folder, exact, voxels.score(collected.samples, exact), facts)
    parser = Balanced()
    parser.feed(page)
    assert "Volumes" in parser.headings
    assert '<canvas id="volume"' in page
    assert page.count('class="cloud"') == 3


def test_a_folder_that_cannot_be_made_is_one_line(aflw2000_folder: Path, exact: Predictions, tmp_path: Path) -> None:
    reader = AFLW2000Reader(aflw2000_folder)
    collected = collect(reader, exact)
    outcome = aflw2000.score(collected.samples, exact)
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="cannot be written there"):
        write_report(outcome, reader, collected.rows, tmp_path / "file" / "report")
    path = write_report(outcome, reader, collected.rows, tmp_path / "a" / "b")
    assert path.read_text(encoding="utf-8").startswith("<!doctype html>")
