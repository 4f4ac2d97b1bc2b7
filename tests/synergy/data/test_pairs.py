from collections.abc import Callable
from pathlib import Path

import pytest

from synergy.data import PtsReader
from synergy.errors import UserError

PTS = "version: 1\nn_points: 68\n{\n" + "".join(f"{i} {i * 2 % 30}\n" for i in range(68)) + "}\n"


def test_halves_are_noted_where_there_are_pairs(tmp_path: Path, write_image: Callable[..., None]) -> None:
    for name in ("a/one.jpg", "a/two.PNG", "a/photo.jpg", "b/elsewhere.jpg"):
        write_image(tmp_path / name)
    for name in ("a/one.pts", "a/two.pts", "a/three.pts"):
        (tmp_path / name).write_text(PTS)
    reader = PtsReader(tmp_path)
    assert reader.names == ("a/one.jpg", "a/two.PNG")
    assert {problem.name for problem in reader.problems} == {"a/photo.jpg", "a/three.pts"}


def test_no_pair_at_all_is_an_error(tmp_path: Path, write_image: Callable[..., None]) -> None:
    write_image(tmp_path / "one.jpg")
    (tmp_path / "two.pts").write_text(PTS)
    with pytest.raises(UserError, match=r"looked for pairs of images and \.pts files"):
        PtsReader(tmp_path)
