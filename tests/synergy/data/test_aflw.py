from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from synergy.crop import square_crop
from synergy.data import AFLWReader
from synergy.errors import UserError


@pytest.fixture
def labels() -> dict[str, np.ndarray]:
    return {
        "names": np.array(["b.jpg", "a.jpg", "gone.jpg"]),
        "points21": np.arange(3 * 42, dtype=np.float32).reshape(3, 21, 2),
        "points68": np.full((3, 68, 2), np.nan, np.float32),
        "visibility68": np.full((3, 68), -1, np.int8),
        "yaw_abs_deg": np.array([10, 20, 30], np.float32),
    }


@pytest.fixture
def folder(tmp_path: Path, labels: dict[str, np.ndarray], write_image: Callable[..., None]) -> Path:
    for name in ("a", "b"):
        write_image(tmp_path / "aflw" / f"{name}.jpg", 120, 120)
    np.savez(tmp_path / "labels.npz", **labels)
    return tmp_path


def test_rows_follow_names(folder: Path, labels: dict[str, np.ndarray]) -> None:
    reader = AFLWReader(folder)
    samples = {sample.name: sample for sample in reader}
    assert set(samples) == {"aflw/a.jpg", "aflw/b.jpg"}
    assert (samples["aflw/a.jpg"].points21 == labels["points21"][1]).all()
    assert np.array_equal(samples["aflw/b.jpg"].pose_deg, [np.nan, 10, np.nan], equal_nan=True)
    assert square_crop(samples["aflw/a.jpg"].box, 120) == pytest.approx(np.eye(3)[:2], abs=1e-5)
    assert [problem.name for problem in reader.problems] == ["gone.jpg"]


def test_bad_labels_are_one_line(folder: Path, labels: dict[str, np.ndarray]) -> None:
    path = folder / "labels.npz"
    for change, message in (
        ({"points68": np.zeros((3, 67, 2))}, "points68 is .* expected"),
        ({"names": np.array(["a.jpg"])}, "points21 is .* expected"),
    ):
        np.savez(path, **{**labels, **change})
        with pytest.raises(UserError, match=message):
            AFLWReader(folder)
    np.savez(path, names=labels["names"])
    with pytest.raises(UserError, match="lacks points21"):
        AFLWReader(folder)
    path.write_bytes(b"no npz")
    with pytest.raises(UserError, match="not a readable"):
        AFLWReader(folder)
    path.unlink()
    with pytest.raises(UserError, match=r"expected one \.npz"):
        AFLWReader(folder)


def test_labels_of_other_images_are_an_error(folder: Path, labels: dict[str, np.ndarray]) -> None:
    np.savez(folder / "labels.npz", **{**labels, "names": np.array(["x.jpg", "y.jpg", "z.jpg"])})
    with pytest.raises(UserError, match=r"looked for the images that labels\.npz names"):
        AFLWReader(folder)


def test_the_pack(shared_data: Path) -> None:
    reader = AFLWReader(shared_data / "aflw_val.tar")
    samples = list(reader.samples(image=False))
    assert len(samples) == 1000
    assert sum(bool((sample.visibility68 >= 0).any()) for sample in samples) == 606
    for sample in samples:
        seen = sample.visibility68 > 0
        assert np.isfinite(sample.landmarks68[seen]).all()
        assert np.isnan(sample.landmarks68[~seen]).all()
