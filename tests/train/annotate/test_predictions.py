"""Prediction files are read, and a network's predictions for a pack are the faces that it saw."""

from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from eval.metrics import box_size
from synergy.cli.label import app
from synergy.crop import LANDMARK_MARGIN, invert_affine, transform_points
from synergy.engines import CropPredictions
from synergy.errors import UserError
from synergy.geometry import decompose_pose
from train.annotate.pipeline import LabelOptions, build_pack
from train.annotate.predictions import predict_photos, read_blendshapes, read_predictions
from train.packs.pack import Pack


class KnownNet:
    """Stands for a network that predicts the landmarks and poses of the first photos of a pack.

    Attributes:
        shift: (N,) pixels by which the prediction for the crop alone differs in x from the mean with the mirror image.
        std: standard deviations (N, 68) that it predicts, or None.
        confidence: (N,), or None.
    """

    size, margin = 120, LANDMARK_MARGIN

    def __init__(self, pack: Pack, shift=None, std=None, confidence=None) -> None:
        self.pack, self.std, self.confidence = pack, std, confidence
        self.shift = np.zeros(len(pack)) if shift is None else shift


class KnownPredictor:
    """The predictor of a `KnownNet`."""

    def __init__(self, net: KnownNet, mirror: bool = False) -> None:
        self.net, self.mirror = net, mirror

    def predict_crops(self, crops):
        net, n = self.net, len(crops)
        landmarks = net.pack.landmarks68[:n].copy()
        if not self.mirror:
            landmarks[..., 0] += net.shift[:n, None]
        return CropPredictions(landmarks, net.pack.params[:n].copy(), net.std, None, net.confidence)


@pytest.fixture
def known(pts_folder, tmp_path, few_modes, monkeypatch) -> tuple[Path, Pack]:
    """A data set of six photos and its pack, whose predictions come from a `KnownNet`."""
    monkeypatch.setattr("train.annotate.predictions.FacePredictor", KnownPredictor)
    few_modes.save(tmp_path / "few.npz")
    folder, _ = pts_folder()
    return folder, Pack.open(build_pack(folder, tmp_path / "alone", LabelOptions(model=tmp_path / "few.npz")))


def test_predictions_return_in_image_pixels(known, tmp_path):
    folder, alone = known
    profiled = LabelOptions(model=tmp_path / "few.npz", profile_step_deg=30)
    pack = Pack.open(build_pack(folder, tmp_path / "pack", profiled))
    photos = np.isfinite(pack.crop[:, 0])
    assert 0 < photos.sum() < len(pack)
    seen = []
    file = tmp_path / "predictions.npz"
    counts = predict_photos(
        pack.path, file, KnownNet(alone), lambda done, total: seen.append((done, total)), name="own"
    )
    assert counts == (photos.sum(), photos.sum())
    assert seen == [counts]
    (prediction,) = read_predictions([file], alone.names)
    assert prediction.name == "own"
    for i, (left, top, scale) in enumerate(alone.crop):
        affine = invert_affine(np.array([[scale, 0, -left * scale], [0, scale, -top * scale]]))
        expected = transform_points(affine, alone.landmarks68[i])
        np.testing.assert_allclose(prediction.landmarks[i], expected, atol=1e-3)
    rotation = decompose_pose(torch.tensor(alone.params[:, :12]))[1]
    np.testing.assert_allclose(prediction.rotation, rotation, atol=1e-5)


def test_the_least_uncertain_predictions_are_kept(known, tmp_path):
    """Without standard deviations the distance to the mirror image's prediction decides, with them they do."""
    folder, alone = known
    file, ignore = tmp_path / "predictions.npz", lambda done, total: None
    shift = np.array([1.0, 6, 2, 5, 3, 4])
    size = box_size(alone.landmarks68[..., :2])
    assert predict_photos(folder, file, KnownNet(alone, shift), ignore, keep=0.5) == (3, 6)
    arrays = np.load(file)
    # The mean lies half way between both predictions, so that they are twice the shift apart.
    np.testing.assert_allclose(arrays["network_uncertainty"], 100 * 2 * shift / size, rtol=1e-5)
    kept = np.isfinite(arrays["network_landmarks"]).all((1, 2))
    assert (kept == np.isfinite(arrays["network_rotation"]).all((1, 2))).all()
    assert set(np.argsort(shift / size)[:3]) == set(np.flatnonzero(kept))
    std = np.repeat(shift[::-1, None], 68, 1)
    confidence = np.array([1, 1, 1, 1, 0.2, 0.2])
    assert predict_photos(folder, file, KnownNet(alone, shift, std, confidence), ignore, keep=0.5) == (2, 6)
    arrays = np.load(file)
    np.testing.assert_allclose(arrays["network_uncertainty"], 100 * shift[::-1] / size, rtol=1e-5)
    kept = np.isfinite(arrays["network_landmarks"]).all((1, 2))
    assert set(np.argsort((shift[::-1] / size)[:4])[:2]) == set(np.flatnonzero(kept))
    assert predict_photos(folder, file, KnownNet(alone, shift, std, confidence), ignore) == (6, 6)


def test_a_data_set_is_cropped_for_the_network_and_a_pack_must_fit_it(known, tmp_path):
    folder, alone = known
    net = KnownNet(alone)
    net.size = 64
    with pytest.raises(UserError, match="crops of 120 px, but the network wants 64 px"):
        predict_photos(alone.path, tmp_path / "p.npz", net, lambda done, total: None)
    net.size, net.margin = (
        60,
        LANDMARK_MARGIN,
    )  # half of the resolution: the landmarks are twice as far apart
    file, lines = tmp_path / "p.npz", []
    (folder / "face6.png").write_bytes(b"no image")
    (folder / "face6.pts").write_bytes((folder / "face5.pts").read_bytes())
    assert predict_photos(folder, file, net, lambda done, total: None, warn=lines.append) == (6, 6)
    assert [line.partition(":")[0] for line in lines] == ["face6.png"]
    (prediction,) = read_predictions([file], alone.names)
    boxes = [np.ptp(points[:, :2], 0).max() for points in prediction.landmarks]
    expected = [2 * np.ptp(alone.landmarks68[i, :, :2], 0).max() / alone.crop[i, 2] for i in range(6)]
    np.testing.assert_allclose(boxes, expected, rtol=0.05)


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


def test_photos_of_the_same_name_in_several_folders(tmp_path):
    file = tmp_path / "a.npz"
    np.savez(file, names=["a/1.png", "b/1.png", "b/2.png"], net68=np.arange(3.0)[:, None, None] * np.ones((3, 68, 2)))

    def values(*names):
        return read_predictions([file], names)[0].landmarks[:, 0, 0].tolist()

    assert values("b/1.png", "a/1.png", "2.png") == [1, 0, 2]
    for names in (["1.png"], ["c/1.png"], ["a/2.png", "c/2.png"]):
        with pytest.raises(UserError, match=rf"a\.npz: it is not clear which row belongs to {names[0]}"):
            values(*names)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({}, "no predictions; expected NAME_landmarks"),
        ({"net_landmarks": np.zeros((1, 68, 3))}, "net_landmarks needs net_rotation"),
        ({"net68": np.zeros((1, 68, 2)), "net_rotation": np.eye(3)[None]}, "net68 is 2D, and net_rotation"),
        ({"net_landmarks": np.zeros((1, 67, 3)), "net_rotation": np.eye(3)[None]}, r"net_landmarks is \(1, 67, 3\)"),
    ],
)
def test_other_files_are_one_line(tmp_path, arrays, message):
    np.savez(tmp_path / "p.npz", names=["a"], **arrays)
    with pytest.raises(UserError, match=message):
        read_predictions([tmp_path / "p.npz"], ["a"])
    with pytest.raises(UserError, match="gone"):
        read_predictions([tmp_path / "gone.npz"], ["a"])
    np.savez(tmp_path / "p.npz", names=["a"], net68=np.zeros((1, 68, 2)))
    with pytest.raises(UserError, match=r"p\.npz: no prediction is for one of the 2 faces, such as b"):
        read_predictions([tmp_path / "p.npz"], ["b", "c"])


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
    for wrong, message in ((tmp_path / "predictions", "written as .npz"), (tmp_path / "no" / "p.npz", "no folder")):
        with pytest.raises(UserError, match=message):
            CliRunner().invoke(app, ["predict", "none", "--out", str(wrong)], catch_exceptions=False)
    result = CliRunner().invoke(app, ["predict", str(tmp_path / "pack"), "--out", str(out)])
    assert result.exit_code == 0, result.output
    arrays = np.load(out)
    assert arrays["network_landmarks"].shape == (6, 68, 3)
    np.testing.assert_allclose(np.linalg.det(arrays["network_rotation"]), 1, atol=1e-5)
