"""Prediction files are read as faces, and a network's predictions for a pack are the faces that it saw."""

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from synergy.cli.label import app
from synergy.crop import invert_affine, transform_points
from synergy.errors import UserError
from synergy.geometry import decompose_pose
from train.annotate.faces import PointModel
from train.annotate.pipeline import LabelOptions, build_pack
from train.annotate.teachers import predict_pack, read_predictions
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
    model = PointModel.create(few_modes)
    faces = read_predictions(file, alone.names, model)
    points = faces.project(model).numpy() * [1, -1, 1]
    for i, (left, top, scale) in enumerate(alone.crop):
        affine = invert_affine(np.array([[scale, 0, -left * scale], [0, scale, -top * scale]]))
        expected = transform_points(affine, alone.landmarks68[i])[:, :2]
        assert np.abs(points[i, :, :2] - expected).max() < 0.5  # of some 100; the fit is regularised
    rotation = decompose_pose(torch.tensor(alone.params[:, :12]))[1]
    torch.testing.assert_close(faces.rotation.float(), rotation, atol=1e-3, rtol=0)


def test_predictions_match_by_name_and_are_used(pts_folder, tmp_path, few_modes, make_truth):
    few_modes.save(tmp_path / "few.npz")
    folder, landmarks = pts_folder()
    file = tmp_path / "predictions.npz"
    names = [f"elsewhere/face{i}.png" for i in range(5)]
    rotation = make_truth(6, yaw_deg=30).faces.rotation.numpy()
    np.savez(file, names=names, net_landmarks=landmarks[:5], net_rotation=rotation[:5])
    faces = read_predictions(file, [f"face{i}.png" for i in range(6)], PointModel.create(few_modes))
    assert faces.log_scale.isfinite().tolist() == [True] * 5 + [False]
    options = LabelOptions(model=tmp_path / "few.npz", teacher=file)
    pack = Pack.open(build_pack(folder, tmp_path / "pack", options))
    assert len(pack) == 6
    alone = Pack.open(build_pack(folder, tmp_path / "alone", LabelOptions(model=tmp_path / "few.npz")))
    truth = (landmarks[:, :, :2] - pack.crop[:, None, :2]) * pack.crop[:, None, 2:]
    with_teacher, without = (np.linalg.norm(p.landmarks68[..., :2] - truth, axis=-1).mean(1) for p in (pack, alone))
    assert (with_teacher[:5] < 0.5).all()
    assert with_teacher[:5].mean() < without[:5].mean()


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({}, "expected arrays NAME_landmarks"),
        ({"net_landmarks": np.zeros((1, 68, 3))}, "expected arrays NAME_landmarks and NAME_rotation"),
        (
            {"net_landmarks": np.zeros((1, 67, 3)), "net_rotation": np.zeros((1, 3, 3))},
            r"net_landmarks is \(1, 67, 3\)",
        ),
    ],
)
def test_other_files_are_one_line(tmp_path, point_model, arrays, message):
    np.savez(tmp_path / "p.npz", names=["a"], **arrays)
    with pytest.raises(UserError, match=message):
        read_predictions(tmp_path / "p.npz", ["a"], point_model)


def test_command_writes_predictions_of_the_bundled_weights(pts_folder, tmp_path):
    folder, _ = pts_folder()
    build_pack(folder, tmp_path / "pack")
    out = tmp_path / "predictions.npz"
    result = CliRunner().invoke(app, ["predict", str(tmp_path / "pack"), "--out", str(out)])
    assert result.exit_code == 0, result.output
    arrays = np.load(out)
    assert arrays["network_landmarks"].shape == (6, 68, 3)
    np.testing.assert_allclose(np.linalg.det(arrays["network_rotation"]), 1, atol=1e-5)
