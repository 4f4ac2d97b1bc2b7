import numpy as np
import pytest
import torch

from bfm_assets import ModelFileError, open_face
from synergy.errors import UserError
from train.annotate.calibration import Calibration
from train.annotate.pipeline import LabelOptions, build_pack
from train.annotate.quality import QualityInputs, _parts, format_by_yaw, measure_aflw2000, measure_agreement


def test_bins_are_averaged_apart():
    error = np.array([1.0, 3.0, 5.0, np.nan, 7.0])
    yaw = np.array([-10.0, 30.0, -45.0, 50.0, 90.0])
    assert format_by_yaw(error, yaw) == "2.00 / 5.00 / 7.00, mean 4.67"
    assert format_by_yaw(error[:2], yaw[:2]) == "2.00 / - / -, mean 2.00"


@pytest.mark.parametrize("has_21", [True, False])
def test_parts_share_no_point(has_21):
    points = torch.zeros(2, 89, 3)
    if not has_21:
        points[:, 68:] = torch.nan
    first, second = (part[..., 0].isfinite() for part in _parts(points))
    assert not (first & second).any()
    assert ((first | second) == points[..., 0].isfinite()).all()
    assert (first.sum(1) > 20).all()


def means(line: str) -> list[float]:
    return [float(part.split("mean")[1]) for part in line.split("|")]


def test_the_pack_of_another_morphable_model_is_refused(pts_folder, make_truth, few_modes, tmp_path):
    folder, landmarks = pts_folder()
    few, whole, file = tmp_path / "few.npz", tmp_path / "whole.npz", tmp_path / "teacher.npz"
    few_modes.save(few)
    open_face().landmark_model().save(whole)
    rotation = make_truth(6, yaw_deg=30).faces.rotation.numpy()
    np.savez(file, names=[f"face{i}.png" for i in range(6)], net_landmarks=landmarks, net_rotation=rotation)
    pack = build_pack(folder, tmp_path / "pack", LabelOptions(model=few, teachers=(file,)))
    with pytest.raises(UserError, match=r"calibration\.npz: it belongs to a morphable model with 15 coefficients"):
        measure_agreement(QualityInputs(folder, [file], whole, pack))


def test_a_missing_file_of_aflw2000_3d_is_one_line(few_modes, point_model, tmp_path):
    few_modes.save(tmp_path / "few.npz")
    Calibration.default(point_model).save(tmp_path / "c.npz")
    arguments = tmp_path, tmp_path / "peer.npz", tmp_path / "few.npz", tmp_path / "c.npz"
    with pytest.raises(ModelFileError, match=r"peer\.npz: no such file$"):
        measure_aflw2000(*arguments)
    points = np.zeros((1, 68, 3))
    np.savez(tmp_path / "peer.npz", names=["a.jpg"], landmarks68=points, reannotated68=points[..., :2])
    with pytest.raises(ModelFileError, match=r"a\.mat: no such file$"):
        measure_aflw2000(*arguments)


@pytest.fixture(scope="module")
def aflw_pack(tmp_path_factory):
    """A pack of 6,000 faces of AFLW, for its calibration and teacher weights."""
    from tests.conftest import SHARED

    if not SHARED.is_dir():
        pytest.skip("needs the real data (../shared/data)")
    options = LabelOptions(model=SHARED / "bfm68_basis.npz", teachers=(SHARED / "aflw_train_teachers.npz",), limit=6000)
    return build_pack(SHARED / "aflw_train.tar", tmp_path_factory.mktemp("packs") / "aflw", options)


@pytest.mark.slow
def test_fused_labels_are_nearer_to_aflw2000_3d_than_their_parts(shared_data, aflw_pack):
    sample = shared_data / "aflw2000_3d_sample"
    peer, model = sample / "peer_3ddfa_v2_mb05.npz", shared_data / "bfm68_basis.npz"
    table = measure_aflw2000(sample, peer, model, aflw_pack / "calibration.npz")
    original, reannotated = means(table["teachers + annotations"])
    base, annotations = means(table["base teacher"]), means(table["annotations"])
    assert original < min(base[0], annotations[0])
    assert reannotated < annotations[1]
    # With the second labels, the gain over the base teacher is smaller than the effect of the 6,000 faces.
    assert reannotated < 1.02 * base[1]


@pytest.mark.slow
def test_fused_labels_are_nearer_to_held_out_annotations_and_to_an_independent_pose(shared_data, aflw_pack):
    inputs = QualityInputs(
        shared_data / "aflw_val.tar",
        [shared_data / "aflw_val_teachers.npz"],
        shared_data / "bfm68_basis.npz",
        aflw_pack,
        judge="opentrack",
    )
    table = measure_agreement(inputs)
    assert int(table.pop("faces")) == 583
    from68, from21, angle68, _ = means(table["teachers + annotations"])
    base = means(table["base teacher"])
    assert from68 < 0.85 * base[0]
    assert from21 < 0.92 * base[1]
    assert angle68 < base[2]
    assert angle68 < means(table["annotations"])[2]
