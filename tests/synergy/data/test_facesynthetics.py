import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from synergy.data import FaceSyntheticsReader


def test_68_of_70_points_as_they_stand(tmp_path: Path, write_image: Callable[..., None]) -> None:
    rows = np.arange(140).reshape(70, 2) / 4
    for name in ("000000.png", "000000_seg.png", "000001.png", "000002.png"):
        write_image(tmp_path / name)
    np.savetxt(tmp_path / "000000_ldmks.txt", rows, fmt="%.3f")
    np.savetxt(tmp_path / "000001_ldmks.txt", rows[:68], fmt="%.3f")
    (tmp_path / "000002_ldmks.txt").write_text("1 x\n")
    reader = FaceSyntheticsReader(tmp_path)
    (sample,) = reader
    assert sample.landmarks68 == pytest.approx(rows[:68])
    assert {problem.name: problem.reason for problem in reader.problems} == {
        "000001.png": "000001_ldmks.txt is 68x2, expected 70x2",
        "000002.png": "000002_ldmks.txt has a line that is not a point 'x y'",
    }


def test_images_that_cannot_be_read_are_skipped(tmp_path: Path, write_image: Callable[..., None]) -> None:
    for name in ("bomb", "good", "text"):
        np.savetxt(tmp_path / f"{name}_ldmks.txt", np.ones((70, 2)))
        write_image(tmp_path / f"{name}.png")
    (tmp_path / "text.png").write_text("no image")
    chunks = [b"IHDR" + struct.pack(">II5B", 20_000, 20_000, 8, 2, 0, 0, 0), b"IDAT"]
    packed = [struct.pack(">I", len(one) - 4) + one + struct.pack(">I", zlib.crc32(one)) for one in chunks]
    (tmp_path / "bomb.png").write_bytes(b"".join([b"\x89PNG\r\n\x1a\n", *packed]))
    reader = FaceSyntheticsReader(tmp_path)
    assert [sample.name for sample in reader.samples(image=False)] == ["good.png"]
    assert [problem.reason for problem in reader.problems] == [
        "bomb.png is not a readable image",
        "text.png is not a readable image",
    ]


def test_the_sample(shared_data: Path) -> None:
    reader = FaceSyntheticsReader(shared_data / "facesynthetics_sample")
    assert [sample.image.shape for sample in reader] == [(512, 512, 3)] * 4
    assert reader.problems == []
