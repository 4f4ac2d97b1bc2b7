from pathlib import Path

import numpy as np
import pytest
import torch

from eval.predictions import Predictions
from synergy.errors import UserError
from synergy.geometry import euler_to_matrix

NAMES = ("a/1.jpg", "a/2.jpg", "b/1.jpg")
POINTS = np.arange(3 * 68 * 3, dtype=np.float32).reshape(3, 68, 3)
POSE = np.arange(9, dtype=np.float32).reshape(3, 3)


def test_the_file_comes_back(tmp_path: Path) -> None:
    Predictions(NAMES, POINTS, POSE, "ours", "published", "matrix rows").save(tmp_path / "p.npz")
    loaded = Predictions.load(tmp_path / "p.npz")
    assert loaded.names == NAMES
    assert (loaded.landmarks68 == POINTS).all()
    assert (loaded.pose_deg == POSE).all()
    assert (loaded.model_id, loaded.crops, loaded.pose_from) == ("ours", "published", "matrix rows")


def test_pose_and_model_are_optional_and_points_may_be_flat(tmp_path: Path) -> None:
    np.savez(tmp_path / "theirs.npz", names=np.array(NAMES), landmarks68=POINTS[..., :2])
    loaded = Predictions.load(tmp_path / "theirs.npz")
    assert loaded.pose_deg is None
    assert not loaded.has_depth
    assert loaded.model_id == "theirs"


def test_names_choose_rows_in_order() -> None:
    chosen = Predictions(NAMES, POINTS, POSE).select(["b/1.jpg", "2.jpg"])  # the second by its last part
    assert chosen.names == ("b/1.jpg", "2.jpg")
    assert (chosen.landmarks68 == POINTS[[2, 1]]).all()
    assert (chosen.pose_deg == POSE[[2, 1]]).all()


@pytest.mark.parametrize("wanted", [["1.jpg"], ["c/1.jpg"], ["x.jpg", "a/1.jpg"]])
def test_missing_and_ambiguous_names_are_an_error(wanted: list[str]) -> None:
    with pytest.raises(UserError, match=rf"lack 1 of {len(wanted)} images, the first of them {wanted[0]}"):
        Predictions(NAMES, POINTS).select(wanted)


def test_one_prediction_does_not_serve_two_images() -> None:
    with pytest.raises(UserError, match="lack 2 of 2"):
        Predictions(("2.jpg",), POINTS[:1]).select(["a/2.jpg", "b/2.jpg"])


@pytest.mark.parametrize(
    ("names", "points", "pose", "message"),
    [
        (NAMES, POINTS[:, :67], None, r"\(3, 67, 3\), expected \(N, 68, 3\)"),
        (NAMES, POINTS[0], None, "expected"),
        (NAMES[:2], POINTS, None, "2 names but 3 sets"),
        (NAMES, POINTS, POSE[:2], "pose_deg is"),
        (("a", "a", "b"), POINTS, None, "the name a occurs more than once"),
        (
            NAMES,
            np.where(np.arange(3)[:, None, None] == 1, np.nan, POINTS),
            None,
            r"landmarks68 of a/2\.jpg .* not finite",
        ),
        (NAMES, POINTS, np.full((3, 3), np.inf), "pose_deg of"),
    ],
)
def test_bad_predictions_are_one_line(
    names: tuple[str, ...], points: np.ndarray, pose: np.ndarray | None, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        Predictions(names, points, pose)


ROTATION = np.tile(np.eye(3, dtype=np.float32), (3, 1, 1))
COVARIANCE = ROTATION * np.float32(0.01)
FLAT = np.diag([1, 1, 0]).astype(np.float32) * COVARIANCE


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"rotation": ROTATION * np.float32(0.4)}, r"rotation of a/1\.jpg is no rotation matrix"),
        ({"rotation": -ROTATION}, "is no rotation matrix"),
        ({"rotation_covariance": COVARIANCE}, "rotation_covariance needs rotation"),
        (
            {"rotation": ROTATION, "rotation_covariance": FLAT},
            r"rotation_covariance of a/1\.jpg is not positive definite",
        ),
        ({"landmarks68_std": np.zeros((3, 68))}, r"landmarks68_std of a/1\.jpg has values that are not positive"),
        ({"landmarks68_std": np.full((3, 68), -1)}, "not positive"),
    ],
)
def test_rotations_and_uncertainties_are_checked(arrays: dict[str, np.ndarray], message: str) -> None:
    Predictions(NAMES, POINTS, rotation=ROTATION, rotation_covariance=COVARIANCE, landmarks68_std=np.ones((3, 68)))
    with pytest.raises(UserError, match=message):
        Predictions(NAMES, POINTS, **arrays)


def test_angles_are_those_of_given_rotations(tmp_path: Path) -> None:
    angles = torch.tensor([[0.1, 0.5, -0.2], [0.0, -1.2, 0.3], [0.3, 0.0, 0.0]], dtype=torch.float64)
    rotation = euler_to_matrix(angles).numpy()
    np.savez(tmp_path / "r.npz", names=np.array(NAMES), landmarks68=POINTS, rotation=rotation)
    loaded = Predictions.load(tmp_path / "r.npz")
    assert loaded.pose_deg == pytest.approx(np.degrees(angles.numpy()), abs=1e-4)
    assert loaded.pose_from == "true rotation"


def test_bad_files_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        Predictions.load(tmp_path / "none.npz")
    (tmp_path / "text.npz").write_text("x")
    with pytest.raises(UserError, match="not a readable"):
        Predictions.load(tmp_path / "text.npz")
    np.savez(tmp_path / "other.npz", names=np.array(NAMES))
    with pytest.raises(UserError, match="lacks landmarks68"):
        Predictions.load(tmp_path / "other.npz")
    np.savez(tmp_path / "text2.npz", names=np.array(NAMES), landmarks68=np.array(["x"]))
    with pytest.raises(UserError, match="not numeric"):
        Predictions.load(tmp_path / "text2.npz")
