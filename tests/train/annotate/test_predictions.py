"""Prediction files are read, and a network's predictions for a pack are the faces that it saw."""

from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from synergy.cli.label import app
from synergy.crop import invert_affine, transform_points
from synergy.errors import UserError
from synergy.geometry import decompose_pose
from train.annotate.pipeline import LabelOptions, build_pack
from train.annotate.predictions import predict_pack, read_blendshapes, read_predictions
from train.packs.pack import Pack


class KnownPredictor:
    """Predicts the landmarks and poses of the first photos of a pack."""

    def __init__(self, pack: Pack) -> None:
        self.pack = pack

    def predict_crops(self, crops):
        return self.pack.landmarks68[: len(crops)].copy(), self.pack.params[: len(crops)].copy()


def test_predictions_return_in_image_pixels(pts_folder, tmp_path, few_modes):
    few_modes.save(tmp_path / "few.npz")
    folder, _ = pts_folder()
    profiled = LabelOptions(model=tmp_path / "few.npz", profile_step_deg=30)
    pack = Pack.open(build_pack(folder, tmp_path / "pack", profiled))
    photos = np.isfinite(pack.crop[:, 0])
    assert 0 < photos.sum() < len(pack)
    alone = Pack.open(build_pack(folder, tmp_path / "alone", LabelOptions(model=tmp_path / "few.npz")))
    seen = []
    file = tmp_path / "predictions.npz"
    predict_pack(pack.path, file, KnownPredictor(alone), lambda done, total: seen.append((done, total)))
    assert seen == [(photos.sum(), photos.sum())]
    (prediction,) = read_predictions([file], alone.names)
    for i, (left, top, scale) in enumerate(alone.crop):
        affine = invert_affine(np.array([[scale, 0, -left * scale], [0, scale, -top * scale]]))
        expected = transform_points(affine, alone.landmarks68[i])
        np.testing.assert_allclose(prediction.landmarks[i], expected, atol=1e-3)
    rotation = decompose_pose(torch.tensor(alone.params[:, :12]))[1]
    np.testing.assert_allclose(prediction.rotation, rotation, atol=1e-5)


def test_a_file_may_hold_several_networks_and_names_match_by_their_last_component(tmp_path):
    file = tmp_path / "a.npz"
    np.savez(
        file,
        names=["x/one.jpg", "x/two.jpg"],
        solid_landmarks=np.arange(2 * 68 * 3, dtype=np.float16).reshape(2, 68, 3),
        solid_rotation=np.eye(3)[None].repeat(2, 0),
        solid_spread=np.zeros(2),
        pose_rotation=np.eye(3)[None].repeat(2, 0) * 2,
        flat68=np.ones((2, 68, 2)),
    )
    found = {p.name: p for p in read_predictions([file], ["two.jpg", "three.jpg"])}
    assert set(found) == {"solid", "pose", "flat"}
    assert found["solid"].landmarks[0, 0, 0] == 68 * 3
    assert np.isnan(found["solid"].landmarks[1]).all()
    assert found["pose"].landmarks is None
    assert found["flat"].rotation is None
    with pytest.raises(UserError, match="'solid' were given twice"):
        read_predictions([file, file], ["two.jpg"])


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({}, "no predictions; expected NAME_landmarks"),
        ({"net_landmarks": np.zeros((1, 68, 3))}, "net_landmarks needs net_rotation"),
        ({"net_landmarks": np.zeros((1, 67, 3)), "net_rotation": np.eye(3)[None]}, r"net_landmarks is \(1, 67, 3\)"),
    ],
)
def test_other_files_are_one_line(tmp_path, arrays, message):
    np.savez(tmp_path / "p.npz", names=["a"], **arrays)
    with pytest.raises(UserError, match=message):
        read_predictions([tmp_path / "p.npz"], ["a"])
    with pytest.raises(UserError, match="gone"):
        read_predictions([tmp_path / "gone.npz"], ["a"])


def test_blendshapes_follow_the_names_of_the_teachers(tmp_path):
    teachers, scores = tmp_path / "set_teachers.npz", tmp_path / "scores.npz"
    np.savez(teachers, names=["x/one.jpg", "x/two.jpg"])
    np.savez(scores, set=np.arange(2 * 52, dtype=np.float16).reshape(2, 52))
    read = read_blendshapes(scores, Path("somewhere/set.tar"), [teachers], ["two.jpg", "three.jpg"])
    assert read[0, 0] == 52
    assert np.isnan(read[1]).all()
    with pytest.raises(UserError, match=r"need set_teachers\.npz"):
        read_blendshapes(scores, Path("set.tar"), [], ["one.jpg"])
    np.savez(scores, set=np.zeros((3, 52)))
    with pytest.raises(UserError, match=r"set is \(3, 52\), expected \(2, 52\)"):
        read_blendshapes(scores, Path("set.tar"), [teachers], ["one.jpg"])


def test_command_writes_predictions_of_the_bundled_weights(pts_folder, tmp_path):
    folder, _ = pts_folder()
    build_pack(folder, tmp_path / "pack")
    out = tmp_path / "predictions.npz"
    result = CliRunner().invoke(app, ["predict", str(tmp_path / "pack"), "--out", str(out)])
    assert result.exit_code == 0, result.output
    arrays = np.load(out)
    assert arrays["network_landmarks"].shape == (6, 68, 3)
    np.testing.assert_allclose(np.linalg.det(arrays["network_rotation"]), 1, atol=1e-5)
