import numpy as np
import pytest

from synergy.data.ptsfile import read_pts
from synergy.data.reader import SampleError


def text(n: int = 68, stated: int | None = None, row: str = "{i}.5 {i}", end: str = "}\n") -> bytes:
    rows = "\n".join(row.format(i=i) for i in range(n))
    return f"version: 1\nn_points: {n if stated is None else stated}\n{{\n{rows}\n{end}".encode()


@pytest.mark.parametrize(
    "content",
    [
        text(),
        text().replace(b"\n", b"\r\n"),
        text().replace(b"n_points: 68", b"n_points:  68"),
        text().replace(b"n_points: 68", b"n_points 68"),
    ],
)
def test_points_lose_one_pixel(content: bytes) -> None:
    points = read_pts(content, "x.pts")
    assert points.dtype == np.float32
    assert points == pytest.approx(np.stack([np.arange(68) + 0.5, np.arange(68)], 1) - 1)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (text(67), "x.pts is 67x2, expected 68x2"),
        (text(68, stated=70), "states 70 points and holds 68"),
        (text(row="{i} 1 2"), "68x3, expected 68x2"),
        (text(row="{i}"), "68x1"),
        (text(row="{i} nan"), "not finite"),
        (text(row="{i} x"), "not a point"),
        (text(end=""), "not a complete .pts file"),
        (b"", "not a complete .pts file"),
    ],
)
def test_bad_files_are_one_line(content: bytes, message: str) -> None:
    with pytest.raises(SampleError, match=message):
        read_pts(content, "x.pts")
