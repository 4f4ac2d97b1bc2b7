import cv2
import numpy as np
import pytest
import torch

from bfm_assets import read_model
from synergy.errors import UserError
from train.annotate.faces import FaceParameters, PointModel
from train.annotate.pipeline import LabelOptions, build_pack
from train.packs.pack import Pack


@pytest.fixture(scope="module")
def saved_model(few_modes, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "few.npz"
    few_modes.save(path)
    return path


def test_a_folder_of_photos_becomes_a_pack(pts_folder, tmp_path, saved_model):
    folder, landmarks = pts_folder()
    (folder / "broken.png").write_bytes(b"no image")
    (folder / "broken.pts").write_text("version: 1\nn_points: 68\n{\n1 2\n}\n")
    seen = []
    options = LabelOptions(model=saved_model)
    path = build_pack(folder, tmp_path / "pack", options, lambda done, total: seen.append((done, total)))
    pack = Pack.open(path)
    assert len(pack) == 6
    assert seen == [(6, 6)]
    assert len(pack.manifest["problems"]) == 1
    assert pack.manifest["sources"]["photos"]["licence"].startswith("300-W")
    left, top, scale = pack.crop[0]
    u = (landmarks[0, :, :2] - [left, top]) * scale
    np.testing.assert_allclose(u, pack.annotated68[0], atol=1e-3)
    assert np.linalg.norm(pack.landmarks68[..., :2] - pack.annotated68, axis=-1).mean() < 1.0
    assert np.abs(pack.landmarks68[..., 2].mean(1)).max() < 1e-3
    assert pack.weight.min() > 0.9


def test_profiled_images_follow_their_photo(pts_folder, tmp_path, saved_model):
    options = LabelOptions(model=saved_model, profile_step_deg=15, limit=2)
    pack = Pack.open(build_pack(pts_folder()[0], tmp_path / "pack", options))
    photos = [i for i, name in enumerate(pack.names) if "#" not in name]
    profiled = [i for i, name in enumerate(pack.names) if "#yaw" in name]
    assert photos[0] == 0
    assert len(photos) == 2
    assert len(profiled) >= 6
    assert all(pack.sources[i] == "photos+profile" for i in profiled)
    assert np.abs(pack.pose_deg[profiled, 1]).max() > 70
    assert np.isnan(pack.crop[profiled]).all()
    assert np.isnan(pack.annotated68[profiled]).all()
    np.testing.assert_allclose(pack.weight[profiled[0]], 0.7 * pack.weight[0], rtol=1e-6)


def test_landmarks_of_photos_and_profiled_images_are_the_projected_parameters(pts_folder, tmp_path, saved_model):
    options = LabelOptions(model=saved_model, profile_step_deg=30, limit=2)
    pack = Pack.open(build_pack(pts_folder()[0], tmp_path / "pack", options))
    model = PointModel.create(read_model(saved_model))
    points = FaceParameters.from_vectors(model, torch.from_numpy(np.array(pack.params)), 120.0).project(model)
    np.testing.assert_allclose(points.numpy() * [1, -1, 1], pack.landmarks68, atol=2e-3)


def test_held_out_and_repeated_photos_are_left_out(pts_folder, tmp_path, saved_model):
    folder, _ = pts_folder()
    held, _ = pts_folder("held")
    for i in range(2, 6):
        (held / f"face{i}.png").unlink()
        (held / f"face{i}.pts").unlink()
    for suffix in ("png", "pts"):
        (folder / f"again.{suffix}").write_bytes((folder / f"face4.{suffix}").read_bytes())
    pack = Pack.open(build_pack(folder, tmp_path / "pack", LabelOptions(model=saved_model, held_out=(held,))))
    assert sorted(pack.names) == ["again.png", "face2.png", "face3.png", "face5.png"]
    assert pack.manifest["dropped"] == {"held out": ["face0.png", "face1.png"], "repeated": ["face4.png"]}


BAD = [
    (lambda path: path / "nowhere", {}, "no such file"),
    (lambda path: path, {}, "nothing to read"),
    (lambda path: path, {"profile_step_deg": 0.1}, "1 to 90 degrees"),
]


@pytest.mark.parametrize(("dataset", "options", "message"), BAD)
def test_bad_input_is_one_line(tmp_path, dataset, options, message):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=message):
        build_pack(dataset(tmp_path / "empty"), tmp_path / "out", LabelOptions(**options))


def test_boxes_outside_the_image_and_tiny_images_still_make_rows(tmp_path, pts_folder, saved_model):
    folder, _ = pts_folder()
    cv2.imwrite(str(folder / "face0.png"), np.full((8, 8, 3), 200, np.uint8))
    options = LabelOptions(model=saved_model, profile_step_deg=15, limit=1)
    pack = Pack.open(build_pack(folder, tmp_path / "pack", options))
    assert pack.image(0).max() == 0
    assert np.isfinite(pack.landmarks68).all()


def test_mirrored_labels_are_warned_of(tmp_path, pts_folder, saved_model):
    folder, _ = pts_folder()
    for file in folder.glob("*.pts"):
        head, body = file.read_text().split("{")
        rows = [line.split() for line in body.split("}")[0].split("\n") if line]
        file.write_text(head + "{\n" + "\n".join(f"{200 - float(x)} {y}" for x, y in rows) + "\n}\n")
    lines = []
    build_pack(folder, tmp_path / "pack", LabelOptions(model=saved_model), warn=lines.append)
    assert any("look mirrored" in line for line in lines)


def test_missing_prediction_file_is_one_line(tmp_path, pts_folder):
    with pytest.raises(UserError, match=r"gone\.npz: cannot be read"):
        build_pack(pts_folder()[0], tmp_path / "out", LabelOptions(teacher=tmp_path / "gone.npz"))


def test_cropped_images_keep_their_frame(shared_data, tmp_path):
    options = LabelOptions(model=shared_data / "bfm68_basis.npz", limit=3)
    pack = Pack.open(build_pack(shared_data / "aflw_val.tar", tmp_path / "pack", options))
    np.testing.assert_allclose(pack.crop, [[0, 0, 1]] * 3, atol=1e-4)
    labels = np.load(shared_data / "aflw_val.npz")
    row = labels["names"].tolist().index(pack.names[0].rpartition("/")[2])
    np.testing.assert_allclose(pack.annotated21[0], labels["points21"][row], atol=1e-3)
