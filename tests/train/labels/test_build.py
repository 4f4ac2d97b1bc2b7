from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from synergy.data import W300LPReader
from synergy.errors import UserError
from synergy.landmarks import FLIP68
from train.labels.build import build_pack
from train.labels.evidence import evidence_matrix
from train.labels.fit import Basis
from train.labels.pack import Pack
from train.labels.sheet import show_pack
from train.labels.source import open_reader, read_source, read_teacher


@pytest.fixture(scope="module")
def saved_model(few_modes, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "few.npz"
    few_modes.save(path)
    return path


@pytest.fixture(scope="module")
def micrometres(few_modes):
    """The same model in BFM's units, which 300W-LP's files are in."""
    return replace(
        few_modes,
        name="bfm-like",
        mean=few_modes.mean * 1000,
        shape_basis=few_modes.shape_basis * 1000,
        expression_basis=few_modes.expression_basis * 1000,
        mm_per_unit=1e-3,
    )


def test_a_folder_of_photos_becomes_a_pack(pts_folder, tmp_path, saved_model):
    folder, landmarks = pts_folder()
    (folder / "broken.png").write_bytes(b"no image")
    (folder / "broken.pts").write_text("version: 1\nn_points: 68\n{\n1 2\n}\n")
    seen = []
    path = build_pack(folder, tmp_path / "pack", saved_model, progress=lambda done, total: seen.append((done, total)))
    pack = Pack.open(path)
    assert len(pack) == 6
    assert seen == [(6, 6)]
    assert len(pack.manifest["problems"]) == 1
    assert pack.manifest["sources"]["photos"]["licence"].startswith("300-W")
    left, top, scale = pack.crop[0]
    u = (landmarks[0, :, :2] - [left, top]) * scale
    np.testing.assert_allclose(u, pack.hand68[0], atol=1e-3)
    assert np.linalg.norm(pack.landmarks68[..., :2] - pack.hand68, axis=-1).mean() < 1.0
    assert np.abs(pack.landmarks68[..., 2].mean(1)).max() < 1e-3
    assert pack.weight.min() > 0.9


def test_profiled_and_mirrored_copies_come_with_their_photo(pts_folder, tmp_path, saved_model):
    pack = Pack.open(build_pack(pts_folder()[0], tmp_path / "pack", saved_model, profile=True, mirror=True, limit=2))
    photos = [i for i, name in enumerate(pack.names) if "#" not in name]
    assert len(photos) == 2
    views = [i for i, name in enumerate(pack.names) if "#yaw" in name and "mirror" not in name]
    assert len(views) >= 6
    assert all(pack.sources[i] == "photos+profile" for i in views)
    yaws = pack.pose_deg[views, 1]
    assert np.abs(yaws).max() > 70
    i = views[0]
    j = pack.names.tolist().index(f"{pack.names[i]}#mirror")
    mirrored = pack.landmarks68[j][FLIP68] * [-1, 1, 1] + [119, 0, 0]
    np.testing.assert_allclose(mirrored, pack.landmarks68[i], atol=1e-3)
    np.testing.assert_allclose(pack.pose_deg[j], pack.pose_deg[i] * [1, -1, -1], atol=1e-4)
    sheet = show_pack(pack.path, tmp_path / "sheet.png", columns=3)
    assert cv2.imread(str(sheet)).shape[1] == 3 * 240
    with pytest.raises(UserError, match="cannot write"):
        show_pack(pack.path, tmp_path / "no folder" / "sheet.png", worst=True)


def test_held_out_and_repeated_photos_are_left_out(pts_folder, tmp_path, saved_model):
    folder, _ = pts_folder()
    held, _ = pts_folder("held")
    for i in range(2, 6):
        (held / f"face{i}.png").unlink()
        (held / f"face{i}.pts").unlink()
    for suffix in ("png", "pts"):
        (folder / f"again.{suffix}").write_bytes((folder / f"face4.{suffix}").read_bytes())
    pack = Pack.open(build_pack(folder, tmp_path / "pack", saved_model, held_out=[held]))
    assert sorted(pack.names) == ["again.png", "face2.png", "face3.png", "face5.png"]
    assert pack.manifest["dropped"] == {"held out": ["face0.png", "face1.png"], "repeated": ["face4.png"]}


def test_predictions_are_used_and_checked(pts_folder, tmp_path, saved_model, few_modes):
    folder, landmarks = pts_folder()
    basis = Basis.of(few_modes, evidence_matrix())
    alone = Pack.open(build_pack(folder, tmp_path / "alone", saved_model))
    affine = np.zeros((6, 2, 3))
    affine[:, 0, 0] = affine[:, 1, 1] = alone.crop[:, 2]
    affine[:, :, 2] = -alone.crop[:, :2] * alone.crop[:, 2:]
    names = [f"elsewhere/{name}" for name in alone.names]
    teacher = tmp_path / "teacher.npz"
    np.savez(teacher, names=names[:5], params=alone.params[:5], crop_affine=affine[:5])
    source = read_source(open_reader(folder))
    faces = read_teacher(teacher, source, basis)
    assert faces.log_scale.isfinite().tolist() == [True] * 5 + [False]
    error = (faces.points(basis)[:5, :68, :2] * torch.tensor([1.0, -1.0])).numpy() - landmarks[:5, :, :2]
    assert np.linalg.norm(error, axis=-1).mean() < 1.5
    pack = Pack.open(build_pack(folder, tmp_path / "pack", saved_model, teacher, calibration=None))
    assert np.linalg.norm(pack.landmarks68[..., :2] - pack.hand68, axis=-1).mean() < 1.5
    np.savez(teacher, names=names, params=np.zeros((6, 62)), crop_affine=affine)
    with pytest.raises(UserError, match=r"params \(6, 62\), expected params \(6, 27\)"):
        read_teacher(teacher, source, basis)


def test_teachers_of_3ddfa_have_their_own_x(tmp_path, pts_folder, few_modes):
    source, basis = read_source(open_reader(pts_folder()[0])), Basis.of(few_modes)
    params = np.concatenate([[0.5, 0, 0, 60, 0, 0.5, 0, 60, 0, 0, 0.5, 0], np.zeros(15)])[None].repeat(6, 0)
    affine = np.eye(2, 3)[None].repeat(6, 0)
    shifted = params.copy()
    shifted[:, 3] -= 1
    for key, value in (("params62", params), ("params", shifted)):
        np.savez(tmp_path / f"{key}.npz", names=source.names, crop_affine=affine, **{key: value})
    theirs, ours = (read_teacher(tmp_path / f"{key}.npz", source, basis) for key in ("params62", "params"))
    torch.testing.assert_close(theirs.points(basis), ours.points(basis))


def test_like_300w_lp_is_read_back_by_its_reader(pts_folder, tmp_path, micrometres):
    model = tmp_path / "bfm.npz"
    micrometres.save(model)
    folder, _ = pts_folder()
    out = build_pack(folder, tmp_path / "out", model, profile=True, mirror=True, like="300w-lp", limit=2)
    plain, rebuilt = W300LPReader(out), W300LPReader(out, micrometres)
    assert {name.rpartition("/")[0] for name in plain.names} == {"photos", "photos_Flip"}
    assert len(plain) >= 16
    for i in range(len(plain)):
        sample, again = plain.read(i), rebuilt.read(i)
        assert sample.image.shape == (450, 450, 3)
        np.testing.assert_allclose(sample.landmarks68, again.landmarks68[:, :2], atol=0.01)
    with pytest.raises(UserError, match="give --model a BFM"):
        build_pack(folder, tmp_path / "other", None, like="300w-lp", limit=1)


BAD = [
    (lambda path: {"dataset": path / "nowhere"}, "no such file"),
    (lambda path: {"dataset": path}, "nothing to read"),
    (lambda path: {"dataset": path, "like": "wflw"}, "knows 300w-lp"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD)
def test_bad_input_is_one_line(tmp_path, arguments, message):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=message):
        build_pack(out=tmp_path / "out", **arguments(tmp_path / "empty"))


def test_boxes_outside_the_image_and_tiny_images_still_make_rows(tmp_path, pts_folder, saved_model):
    folder, _ = pts_folder()
    cv2.imwrite(str(folder / "face0.png"), np.full((8, 8, 3), 200, np.uint8))
    pack = Pack.open(build_pack(folder, tmp_path / "pack", saved_model, profile=True, limit=1))
    assert pack.image(0).max() == 0
    assert np.isfinite(pack.landmarks68).all()


def test_mirrored_labels_are_warned_of(tmp_path, pts_folder, saved_model):
    folder, _ = pts_folder()
    for file in folder.glob("*.pts"):
        head, body = file.read_text().split("{")
        rows = [line.split() for line in body.split("}")[0].split("\n") if line]
        file.write_text(head + "{\n" + "\n".join(f"{200 - float(x)} {y}" for x, y in rows) + "\n}\n")
    lines = []
    build_pack(folder, tmp_path / "pack", saved_model, warn=lines.append)
    assert any("look mirrored" in line for line in lines)
