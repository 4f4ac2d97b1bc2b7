"""Folders with links to folders: every file is listed, once, and no loop runs without end."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from synergy.cli.sources import find_sources
from synergy.data import PtsReader
from synergy.folders import files_below
from synergy.images import write_image


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """data/a/1.jpg, data/b/2.jpg, and elsewhere/3.jpg outside."""
    for name in ("data/a/1.jpg", "data/b/2.jpg", "elsewhere/deep/3.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        write_image(tmp_path / name, np.zeros((20, 20, 3), np.uint8))
    return tmp_path / "data"


@pytest.mark.parametrize(
    ("links", "extra"),
    [
        ({}, []),
        ({"self": "."}, []),  # a link to the folder itself
        ({"a/up": ".."}, []),
        ({"a/over": "../b", "b/over": "../a"}, []),  # two folders that link to each other
        ({"0": "b"}, []),  # a link that sorts before the folder that it leads to
        ({"out": "../elsewhere"}, ["out/deep/3.jpg"]),
        ({"out": "../elsewhere", "out2": "../elsewhere"}, ["out/deep/3.jpg"]),
        ({"out": "../elsewhere", "in": "../elsewhere/deep"}, ["in/3.jpg"]),
        ({"broken": "nowhere"}, ["broken"]),
    ],
)
def test_every_file_once(folder: Path, links: dict[str, str], extra: list[str]) -> None:
    for name, target in links.items():
        (folder / name).symlink_to(target)
    found = [Path(path).relative_to(folder).as_posix() for path in files_below(folder)]
    assert sorted(found) == sorted(["a/1.jpg", "b/2.jpg", *extra])


def test_a_link_out_of_the_folder_may_lead_back_in(folder: Path) -> None:
    (folder / "out").symlink_to("../elsewhere")
    (folder.parent / "elsewhere" / "back").symlink_to("../data")
    assert [Path(path).name for path in files_below(folder)] == ["1.jpg", "2.jpg", "3.jpg"]


def test_data_sets_and_predict_count_images_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    points = "\n".join(f"{i % 9 + 2} {i // 9 + 2}" for i in range(68))
    for image in files_below(folder):
        Path(image).with_suffix(".pts").write_text(f"version: 1\nn_points: 68\n{{\n{points}\n}}\n")
    (folder / "self").symlink_to(".")
    assert len(PtsReader(folder)) == 2
    assert len(find_sources([str(folder)], pytest.fail, pytest.fail)) == 2
    shutil.rmtree(folder / "a")
    assert len(find_sources([str(folder)], pytest.fail, pytest.fail)) == 1


def test_folders_that_cannot_be_read_are_reported(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error is simulated, because nothing is unreadable for the superuser."""
    scan = os.scandir

    def refuse(path: str) -> object:
        if Path(path).name == "a":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    problems: list[str] = []
    assert len(find_sources([str(folder)], problems.append, pytest.fail)) == 1
    assert problems == [f"{folder / 'a'}: cannot be read (Permission denied)"]
