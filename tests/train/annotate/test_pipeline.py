import json
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from bfm_assets import ModelFileError, read_model
from synergy.cli.label import app
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


def test_a_continued_run_names_the_broken_photos_of_its_first_part(pts_folder, tmp_path, saved_model, monkeypatch):
    monkeypatch.setattr("train.annotate.pipeline._PART", 2)
    folder, _ = pts_folder()
    broken = min(file for file in folder.iterdir() if file.suffix != ".pts")
    broken.write_bytes(b"no image")
    options = LabelOptions(model=saved_model)

    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_pack(folder, tmp_path / "pack", options, stop)
    pack = Pack.open(build_pack(folder, tmp_path / "pack", options))
    assert len(pack) == 5
    (problem,) = pack.manifest["problems"]
    assert problem.startswith(f"{broken.name}: ")


def test_a_calibration_of_another_morphable_model_is_one_line(pts_folder, tmp_path, saved_model):
    folder, _ = pts_folder()
    other = build_pack(folder, tmp_path / "open", LabelOptions()) / "calibration.npz"
    with pytest.raises(UserError, match=r"calibration\.npz: it belongs to a morphable model with \d+ coefficients"):
        build_pack(folder, tmp_path / "few", LabelOptions(model=saved_model, calibration=other))


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


def test_a_photo_with_a_hash_sign_in_its_name_is_no_profiled_image(pts_folder, tmp_path, saved_model):
    folder, _ = pts_folder()
    for suffix in ("png", "pts"):
        (folder / f"again#2.{suffix}").write_bytes((folder / f"face4.{suffix}").read_bytes())
        (folder / f"face5.{suffix}").rename(folder / f"face5#1.{suffix}")
    options = LabelOptions(model=saved_model, profile_step_deg=30)
    pack = Pack.open(build_pack(folder, tmp_path / "pack", options))
    assert pack.manifest["dropped"]["repeated"] == ["face4.png"]
    photos = [name for name in pack.names.tolist() if "#yaw" not in name]
    assert sorted(photos) == ["again#2.png", "face0.png", "face1.png", "face2.png", "face3.png", "face5#1.png"]
    assert any(name.startswith("again#2.png#yaw") for name in pack.names)
    assert not any(name.startswith("face4.png#yaw") for name in pack.names)


def test_held_out_data_are_checked_before_any_work(pts_folder, tmp_path, saved_model):
    """A wrong path is no other pack yet, so that the right one can follow."""
    folder, _ = pts_folder()
    held, _ = pts_folder("held")
    options = LabelOptions(model=saved_model, held_out=(tmp_path / "gone",))
    with pytest.raises(UserError, match="gone: no such file"):
        build_pack(folder, tmp_path / "pack", options)
    assert not (tmp_path / "pack").exists()
    for i in range(1, 6):
        (held / f"face{i}.png").write_bytes(b"no image")
    lines = []
    pack = build_pack(folder, tmp_path / "pack", replace(options, held_out=(held,)), warn=lines.append)
    assert len(Pack.open(pack)) == 5
    assert any("held: 5 held-out files cannot be compared with the new images, such as face1.png" in x for x in lines)
    (held / "face0.png").write_bytes(b"no image")
    with pytest.raises(UserError, match="held: none of the held-out images can be compared"):
        build_pack(folder, tmp_path / "other", replace(options, held_out=(held,)))


def test_other_options_may_follow_a_command_that_has_written_no_part(pts_folder, tmp_path, saved_model):
    folder, _ = pts_folder()
    (tmp_path / "bad.npz").write_bytes(b"no calibration")
    options = LabelOptions(model=saved_model, calibration=tmp_path / "bad.npz")
    with pytest.raises(ModelFileError, match=r"bad\.npz"):
        build_pack(folder, tmp_path / "pack", options)
    assert len(Pack.open(build_pack(folder, tmp_path / "pack", replace(options, calibration=None)))) == 6


def test_teachers_whose_weights_cannot_be_estimated_are_warned_of(
    saved_model, pts_folder, make_truth, tmp_path, monkeypatch
):
    monkeypatch.setattr("train.annotate.teachers._FEWEST_POINTS", 69)
    folder, landmarks = pts_folder()
    names, rotation = [f"face{i}.png" for i in range(6)], make_truth(6, yaw_deg=30).faces.rotation.numpy()
    teachers = [prediction_file(tmp_path / "first.npz", names, landmarks, rotation), tmp_path / "second.npz"]
    np.savez(teachers[1], names=names, other68=landmarks[..., :2] + 1)
    lines = []
    for number in (1, 2):
        options = LabelOptions(model=saved_model, teachers=tuple(teachers[:number]))
        build_pack(folder, tmp_path / f"pack{number}", options, warn=lines.append)
        assert sum("teachers next to the first one have no weight" in line for line in lines) == number - 1


BAD = [
    (lambda path: path / "nowhere", {}, "no such file"),
    (lambda path: path, {}, "nothing to read"),
    (lambda path: path, {"profile_step_deg": 0.1}, "1 to 90 degrees"),
]
UNUSED = [
    (["--step", "30"], "--step is the step between profiled images; give --profile too"),
    (["--teacher-weights", "w.json"], "--teacher-weights are the weights of teachers; give --teacher too"),
]


@pytest.mark.parametrize(("options", "message"), UNUSED)
def test_an_option_that_another_one_needs_is_refused_without_it(tmp_path, options, message):
    with pytest.raises(UserError, match=f"^{message}$"):
        CliRunner().invoke(app, ["build", "none", "--out", str(tmp_path), *options], catch_exceptions=False)


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


def test_people_need_a_data_set_that_names_them(tmp_path, pts_folder, saved_model):
    with pytest.raises(UserError, match=r"people above 450 are for validation, but .* does not say who"):
        build_pack(pts_folder()[0], tmp_path / "out", LabelOptions(model=saved_model, val_identities_above=450))


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
        build_pack(pts_folder()[0], tmp_path / "out", LabelOptions(teachers=(tmp_path / "gone.npz",)))


def test_cropped_images_keep_their_frame(shared_data, tmp_path):
    options = LabelOptions(model=shared_data / "bfm68_basis.npz", limit=3)
    pack = Pack.open(build_pack(shared_data / "aflw_val.tar", tmp_path / "pack", options))
    np.testing.assert_allclose(pack.crop, [[0, 0, 1]] * 3, atol=1e-4)
    labels = np.load(shared_data / "aflw_val.npz")
    row = labels["names"].tolist().index(pack.names[0].rpartition("/")[2])
    np.testing.assert_allclose(pack.annotated21[0], labels["points21"][row], atol=1e-3)


def prediction_file(path, names, landmarks, rotation):
    np.savez(path, names=names, net_landmarks=landmarks, net_rotation=rotation)
    return path


def test_teachers_are_used_and_kept(pts_folder, tmp_path, saved_model, make_truth):
    folder, landmarks = pts_folder()
    rotation = make_truth(6, yaw_deg=30).faces.rotation.numpy()
    file = prediction_file(
        tmp_path / "set_teachers.npz", [f"x/face{i}.png" for i in range(5)], landmarks[:5], rotation[:5]
    )
    np.savez(tmp_path / "scores.npz", photos=np.full((5, 52), 0.5, np.float16))
    file.rename(tmp_path / "photos_teachers.npz")
    options = LabelOptions(
        model=saved_model, teachers=(tmp_path / "photos_teachers.npz",), blendshapes=tmp_path / "scores.npz"
    )
    pack = Pack.open(build_pack(folder, tmp_path / "pack", options))
    alone = Pack.open(build_pack(folder, tmp_path / "alone", LabelOptions(model=saved_model)))
    truth = (landmarks[:, :, :2] - pack.crop[:, None, :2]) * pack.crop[:, None, 2:]
    with_teacher, without = (np.linalg.norm(p.landmarks68[..., :2] - truth, axis=-1).mean(1) for p in (pack, alone))
    assert (with_teacher[:5] < 0.5).all()
    assert with_teacher[:5].mean() < without[:5].mean()
    assert np.abs(pack.teacher68[:5, :, :2] - truth[:5]).max() < 0.7
    assert np.isnan(pack.teacher68[5]).all()
    assert (pack.blendshapes[:5] == 0.5).all()
    assert np.isnan(pack.blendshapes[5]).all()
    again = LabelOptions(
        model=saved_model,
        teachers=options.teachers,
        calibration=pack.path / "calibration.npz",
        teacher_weights=pack.path / "teacher_weights.json",
    )
    copied = Pack.open(build_pack(folder, tmp_path / "again", again))
    np.testing.assert_allclose(copied.landmarks68, pack.landmarks68, atol=1e-4)


def test_scores_without_any_annotated_face_are_not_used(pts_folder, tmp_path, saved_model, make_truth):
    folder, landmarks = pts_folder()
    names, rotation = [f"face{i}.png" for i in range(6)], make_truth(6, yaw_deg=30).faces.rotation.numpy()
    file = prediction_file(tmp_path / "photos_teachers.npz", names, landmarks, rotation)
    np.savez(tmp_path / "scores.npz", photos=np.full((6, 52), np.nan, np.float16))
    options = LabelOptions(model=saved_model, teachers=(file,), blendshapes=tmp_path / "scores.npz")
    with_scores, without = (
        Pack.open(build_pack(folder, tmp_path / name, chosen))
        for name, chosen in (("with", options), ("without", replace(options, blendshapes=None)))
    )
    np.testing.assert_array_equal(with_scores.landmarks68, without.landmarks68)


def test_shares_are_stored_with_the_weights(saved_model, pts_folder, make_truth, tmp_path):
    folder, landmarks = pts_folder()
    names, rotation = [f"face{i}.png" for i in range(6)], make_truth(6, yaw_deg=30).faces.rotation.numpy()
    first = prediction_file(tmp_path / "first.npz", names, landmarks, rotation)
    np.savez(tmp_path / "pose.npz", names=names, pose_rotation=rotation)
    teachers = (first, tmp_path / "pose.npz")
    shares: dict[str, dict[str, float]] = {"without": {}, "with": {"pose": 0.4}}
    weights = {}
    for name, share in shares.items():
        pack = build_pack(
            folder, tmp_path / name, LabelOptions(model=saved_model, teachers=teachers, fixed_fractions=share)
        )
        weights[name] = np.array(json.loads((pack / "teacher_weights.json").read_text())["weights"]["pose"]["rotation"])
    np.testing.assert_allclose(weights["with"], 0.4 + 0.6 * weights["without"])
    with pytest.raises(UserError, match="fixed fractions of teachers need teachers"):
        LabelOptions(teacher_weights=tmp_path / "w.json", teachers=teachers, fixed_fractions={"pose": 0.4})


def test_people_above_a_number_are_for_validation(shared_data, tmp_path):
    """The first files of CFP's archive belong to persons 451 and following."""
    options = LabelOptions(
        model=shared_data / "bfm68_basis.npz",
        teachers=(shared_data / "cfp_train_teachers.npz",),
        val_identities_above=451,
        limit=40,
    )
    pack = Pack.open(build_pack(shared_data / "cfp_train.tar", tmp_path / "pack", options))
    assert set(pack.identity) >= {451, 452}
    assert ((pack.identity > 451) == (pack.split == "val")).all()
    profile = pack.attributes[:, pack.manifest["attribute_names"].index("profile")] == 1
    assert np.isnan(pack.annotated68[~profile]).all()
    assert np.isfinite(pack.annotated68[profile]).any((1, 2)).all()
    assert (pack.weight[~profile] <= 0.5).all()
    np.testing.assert_allclose(pack.crop, [[20, 20, 1]] * len(pack), atol=1e-3)
