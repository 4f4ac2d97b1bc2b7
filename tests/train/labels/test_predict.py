"""A network's predictions for a pack come back as the faces that it saw."""

import numpy as np
import torch
from typer.testing import CliRunner

from synergy.cli.label import app
from synergy.crop import invert_affine, transform_points
from synergy.geometry import decompose_pose
from train.labels.build import build_pack
from train.labels.fit import Basis
from train.labels.pack import Pack
from train.labels.predict import predict_pack
from train.labels.source import open_reader, read_source, read_teacher


class Knowing:
    """Predicts what it was told: landmarks and poses of the pack's first photos."""

    def __init__(self, pack: Pack) -> None:
        self.pack = pack

    def predict_crops(self, crops):
        return self.pack.landmarks68[: len(crops)].copy(), self.pack.params[: len(crops)].copy()


def test_predictions_come_back_in_image_pixels(pts_folder, tmp_path, few_modes):
    few_modes.save(tmp_path / "few.npz")
    folder, _ = pts_folder()
    pack = Pack.open(build_pack(folder, tmp_path / "pack", tmp_path / "few.npz", profile=True))
    photos = np.isfinite(pack.crop[:, 0])
    assert 0 < photos.sum() < len(pack)
    alone = Pack.open(build_pack(folder, tmp_path / "alone", tmp_path / "few.npz"))
    seen = []
    teacher = tmp_path / "teacher.npz"
    predict_pack(pack.path, teacher, Knowing(alone), few_modes, lambda done, total: seen.append((done, total)))
    assert seen == [(photos.sum(), photos.sum())]
    faces = read_teacher(teacher, read_source(open_reader(folder)), Basis.of(few_modes))
    points = (faces.points(Basis.of(few_modes))[..., :2] * torch.tensor([1.0, -1.0])).numpy()
    for i, (left, top, scale) in enumerate(alone.crop):
        affine = invert_affine(np.array([[scale, 0, -left * scale], [0, scale, -top * scale]]))
        expected = transform_points(affine, alone.landmarks68[i])[:, :2]
        assert np.abs(points[i] - expected).max() < 1  # of some 100; the fit is regularised
    rotation = decompose_pose(torch.tensor(alone.params[:, :12]))[1]
    torch.testing.assert_close(faces.rotation.float(), rotation, atol=1e-3, rtol=0)


def test_command_writes_predictions_of_the_bundled_weights(pts_folder, tmp_path):
    folder, _ = pts_folder()
    build_pack(folder, tmp_path / "pack")
    out = tmp_path / "teacher.npz"
    result = CliRunner().invoke(app, ["predict", str(tmp_path / "pack"), "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert np.load(out)["params"].shape[0] == 6
