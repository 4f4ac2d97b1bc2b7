from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from synergy.crop import square_crop
from synergy.data import PtsReader
from synergy.data.reader import SampleError, box_of_crop, checked_points


@pytest.fixture
def folder(tmp_path: Path, write_image: Callable[..., None]) -> Path:
    for name, rows in (("a", 68), ("b", 67), ("c", 68)):
        write_image(tmp_path / f"{name}.jpg")
        (tmp_path / f"{name}.pts").write_text("{\n" + "".join(f"{i} {i}\n" for i in range(rows)) + "}\n")
    return tmp_path


def test_read_raises_and_iteration_goes_on(folder: Path) -> None:
    reader = PtsReader(folder)
    with pytest.raises(SampleError, match=r"b\.pts is 67x2"):
        reader.read(1)
    assert [sample.name for sample in reader] == ["a.jpg", "c.jpg"]
    assert [sample.name for sample in reader] == ["a.jpg", "c.jpg"]
    assert len(reader.problems) == 1  # noted once, however often it is met


def test_images_are_decoded_only_when_wanted(folder: Path) -> None:
    reader = PtsReader(folder)
    assert reader.read(0).image.shape == (64, 64, 3)
    assert reader.read(0, image=False).image.shape == (0, 0, 3)


def test_the_digest_follows_the_labels(folder: Path) -> None:
    before = PtsReader(folder).digest()
    (folder / "note.txt").write_text("x")
    assert PtsReader(folder).digest() == before
    (folder / "a.pts").write_text((folder / "a.pts").read_text().replace("7 7", "7 8"))
    assert PtsReader(folder).digest() != before


def test_points_are_checked() -> None:
    assert checked_points([[1, 2]], 1, 2, "x").dtype == np.float32
    with pytest.raises(SampleError, match="x is 2x2, expected 1x2"):
        checked_points([[1, 2], [3, 4]], 1, 2, "x")
    with pytest.raises(SampleError, match="a scalar"):
        checked_points(1, 1, 2, "x")


def test_the_box_of_a_crop_gives_the_crop_back() -> None:
    assert square_crop(box_of_crop(), 120) == pytest.approx(np.eye(3)[:2], abs=1e-5)
