from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from synergy.crop import square_crop
from synergy.data import AnnotatedCropsReader
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
    reader = AnnotatedCropsReader(folder)
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
        ({"names": np.array(["a.jpg"])}, "points68 is .* expected"),
        ({"names": np.arange(3)}, "names is int64"),
        ({"names": np.array("a.jpg")}, "names is"),
    ):
        np.savez(path, **{**labels, **change})
        with pytest.raises(UserError, match=message):
            AnnotatedCropsReader(folder)
    np.savez(path, names=labels["names"])
    with pytest.raises(UserError, match="lacks points68"):
        AnnotatedCropsReader(folder)
    path.write_bytes(b"no npz")
    with pytest.raises(UserError, match="not a readable"):
        AnnotatedCropsReader(folder)
    path.unlink()
    with pytest.raises(UserError, match=r"expected one \.npz"):
        AnnotatedCropsReader(folder)


def test_labels_of_other_images_are_an_error(folder: Path, labels: dict[str, np.ndarray]) -> None:
    np.savez(folder / "labels.npz", **{**labels, "names": np.array(["x.jpg", "y.jpg", "z.jpg"])})
    with pytest.raises(UserError, match=r"looked for the images that labels\.npz names"):
        AnnotatedCropsReader(folder)


def test_larger_crops_have_their_box_in_the_middle_and_attributes(
    tmp_path: Path, write_image: Callable[..., None]
) -> None:
    for name in ("a", "b"):
        write_image(tmp_path / "cfp" / f"{name}.jpg", 160, 160)
    np.savez(
        tmp_path / "cfp.npz",
        names=np.array(["cfp/a.jpg", "cfp/b.jpg"]),
        points68=np.full((2, 68, 2), 80.0, np.float32),
        visibility68=np.full((2, 68), 2, np.int8),
        is_profile=np.array([True, False]),
        identity=np.array([7, 451]),
    )
    reader = AnnotatedCropsReader(tmp_path / "cfp", tmp_path / "cfp.npz")
    profile, frontal = reader
    assert reader.source == "cfp"
    assert "research" in profile.licence
    assert square_crop(profile.box, 120) == pytest.approx(np.array([[1, 0, -20], [0, 1, -20]]), abs=1e-4)
    assert (profile.identity, frontal.identity) == (7, 451)
    assert (profile.attributes, frontal.attributes) == ({"profile": 1}, {"profile": 0})
    assert (profile.landmarks68 == 80).all()
    assert np.isnan(frontal.landmarks68).all()
    assert (frontal.visibility68 == -1).all()
    automatic = AnnotatedCropsReader(tmp_path / "cfp", tmp_path / "cfp.npz", automatic=True)
    assert (automatic.read(1).landmarks68 == 80).all()


FILES = [
    # file, faces, source, faces with points, an attribute and how many faces have it
    ("cfp_train", 6995, "cfp", 1998, "profile", 1998),
    ("wflw_part", 1445, "wflw", 262, "occlusion", None),
    ("scut_part", 1600, "scut-fbp5500", 1596, "asian", 800),
]


@pytest.mark.parametrize(("file", "faces", "source", "annotated", "attribute", "count"), FILES)
def test_the_other_files(
    shared_data: Path, file: str, faces: int, source: str, annotated: int, attribute: str, count: int | None
) -> None:
    reader = AnnotatedCropsReader(shared_data / f"{file}.tar")
    samples = list(reader.samples(image=False))
    assert len(samples) == faces
    assert reader.source == source
    assert sum(bool(np.isfinite(sample.landmarks68).any()) for sample in samples) == annotated
    assert all(attribute in sample.attributes for sample in samples)
    if count is not None:
        assert sum(sample.attributes[attribute] == 1 for sample in samples) == count
    assert reader.read(0).image.shape == (160, 160, 3)


def test_aflw_file(shared_data: Path) -> None:
    reader = AnnotatedCropsReader(shared_data / "aflw_val.tar")
    samples = list(reader.samples(image=False))
    assert len(samples) == 1000
    assert sum(bool((sample.visibility68 >= 0).any()) for sample in samples) == 606
    for sample in samples:
        seen = sample.visibility68 > 0
        assert np.isfinite(sample.landmarks68[seen]).all()
        assert np.isnan(sample.landmarks68[~seen]).all()
