import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bfm_assets.matfile import read_mat_numbers
from eval.metrics import gte
from synergy.data import AFLW2000Reader, JVCRReader
from synergy.errors import UserError


@pytest.fixture
def entry(points68: np.ndarray) -> dict[str, Any]:
    return {
        "img_paths": "afw/1.jpg",
        "landmarks": np.concatenate([points68, np.arange(68)[:, None]], 1).tolist(),
        "objpos": [30, 32],
        "scale_provided": 0.1,
        "isValidation": 1.0,
    }


@pytest.fixture
def write(tmp_path: Path, write_image: Callable[..., None]) -> Callable[[object], Path]:
    write_image(tmp_path / "afw" / "1.jpg")

    def write_json(value: object) -> Path:
        path = tmp_path / "annotation.json"
        path.write_text(json.dumps(value))
        return path

    return write_json


def test_pixels_become_0_based_and_depth_keeps_its_sign(
    write: Callable[[object], Path], entry: dict[str, Any], points68: np.ndarray
) -> None:
    (sample,) = JVCRReader(write([entry]))
    assert sample.landmarks68[:, :2] == pytest.approx(points68 - 1, abs=1e-5)
    assert sample.landmarks68[:, 2] == pytest.approx(np.arange(68) - 33.5)
    assert sample.image.shape == (64, 64, 3)


def test_aflw2000_in_jvcrs_form_reads_back_as_aflw2000(tmp_path: Path, shared_data: Path) -> None:
    """JVCR's own preparation takes `pt3d_68` as it stands, and its box and scale from those points."""
    reference = AFLW2000Reader(shared_data / "aflw2000_3d_sample")
    entries = []
    for name in reference.names:
        file = str(Path(name).with_suffix(".mat"))
        points = read_mat_numbers(reference.tree.read(file), file, ("pt3d_68",))["pt3d_68"].T
        low, high = points[:, :2].min(0), points[:, :2].max(0)
        box = {"objpos": ((low + high) / 2).tolist(), "scale_provided": (high - low)[0] / 200}
        entries.append({"img_paths": name, "landmarks": points.tolist(), "isValidation": 1.0, **box})
    (tmp_path / "aflw2000.json").write_text(json.dumps(entries))
    read = JVCRReader(tmp_path / "aflw2000.json", reference.tree.path)
    assert read.names == reference.names
    points, expected = (
        np.stack([sample.landmarks68 for sample in reader.samples(image=False)]) for reader in (read, reference)
    )
    assert gte(points, expected).max() < 1e-4  # percent; a depth that is turned round gives 60


def test_the_validation_samples_are_known(write: Callable[[object], Path], entry: dict[str, Any]) -> None:
    reader = JVCRReader(write([entry, {**entry, "isValidation": 0}]))
    assert len(reader) == 2
    assert reader.validation_names == {"afw/1.jpg"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"landmarks": [[1, 2, 3]]}, "landmarks is 1x3, expected 68x3"),
        ({"landmarks": None}, "landmarks is"),
        ({"landmarks": {"a": 1}}, "not a number"),
        ({"img_paths": "none.jpg"}, "none.jpg"),
    ],
)
def test_broken_entries_are_counted(
    write: Callable[[object], Path], entry: dict[str, Any], change: dict[str, Any], message: str
) -> None:
    reader = JVCRReader(write([{**entry, **change}]))
    assert list(reader) == []
    (problem,) = reader.problems
    assert message in problem.reason


def test_what_is_no_annotation_is_one_line(write: Callable[[object], Path], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="expected a list"):
        JVCRReader(write({"a": 1}))
    with pytest.raises(UserError, match="looked for entries with img_paths"):
        JVCRReader(write([1, {}]))
    (tmp_path / "annotation.json").write_text("{")
    with pytest.raises(UserError, match="cannot be read as JSON"):
        JVCRReader(tmp_path / "annotation.json")
