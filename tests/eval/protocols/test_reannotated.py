from pathlib import Path

import numpy as np
import pytest

from eval.protocols.reannotated import find_reannotated, read_reannotated
from synergy.data.filetree import FileTree
from synergy.errors import UserError

NAMES = ("image00002.jpg", "image00004.jpg", "image00006.jpg")
LABELS = np.arange(3 * 68 * 2, dtype=np.float32).reshape(3, 68, 2)


@pytest.mark.parametrize("array", [LABELS, LABELS.swapaxes(1, 2), np.concatenate([LABELS, LABELS[..., :1]], 2)])
def test_layouts_that_go_around(tmp_path: Path, array: np.ndarray) -> None:
    np.save(tmp_path / "x.npy", array)
    assert (read_reannotated(tmp_path / "x.npy", NAMES) == LABELS).all()


def test_names_choose_rows(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", names=np.array(NAMES), reannotated68=LABELS)
    assert (read_reannotated(tmp_path / "x.npz", NAMES[::-1][:2]) == LABELS[::-1][:2]).all()
    with pytest.raises(UserError, match=r"no labels for 1 images, the first of them other\.jpg"):
        read_reannotated(tmp_path / "x.npz", ["other.jpg"])


def test_found_beside_the_images(tmp_path: Path) -> None:
    np.save(tmp_path / "pts68.npy", LABELS)
    np.savez(tmp_path / "other.npz", a=LABELS)
    assert find_reannotated(FileTree(tmp_path)) is None
    np.savez(tmp_path / "peer.npz", names=np.array(NAMES), reannotated68=LABELS)
    assert find_reannotated(FileTree(tmp_path)) == "peer.npz"
    np.save(tmp_path / "AFLW2000-3D-Reannotated.npy", LABELS)
    assert find_reannotated(FileTree(tmp_path)) == "AFLW2000-3D-Reannotated.npy"
    assert read_reannotated((FileTree(tmp_path), "peer.npz"), NAMES).shape == (3, 68, 2)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (LABELS[:2], "labels of 2 images, but the data set has 3"),
        (LABELS[:, :67], "expected"),
        (LABELS[0], "expected an array"),
        (LABELS * np.nan, "not finite"),
        (np.array(["x"]), "expected an array"),
        (LABELS * np.array([1, 0, 1])[:, None, None], f"the box around the labels of {NAMES[1]} is empty"),
    ],
)
def test_bad_arrays_are_one_line(tmp_path: Path, array: np.ndarray, message: str) -> None:
    np.save(tmp_path / "x.npy", array)
    with pytest.raises(UserError, match=message):
        read_reannotated(tmp_path / "x.npy", NAMES)


def test_bad_files_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "x.npy").write_bytes(b"no array")
    with pytest.raises(UserError, match=r"not a readable \.npy"):
        read_reannotated(tmp_path / "x.npy", NAMES)
    with pytest.raises(UserError, match="cannot be read"):
        read_reannotated(tmp_path / "none.npy", NAMES)
