"""Public data sets as training batches."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from bfm_assets import open_face
from synergy.models import SynergyNet
from train.readers import ReaderData, _choose_photos, _photo_of


def test_300w_lp_gets_parameters_of_the_open_face(shared_data: Path) -> None:
    data = ReaderData("300w-lp", shared_data / "300w_lp_sample", bfm=str(shared_data / "bfm68_basis.npz"))
    batch = data.train_set[list(range(len(data.train_set)))]
    projected = SynergyNet(open_face(), width=0.25).eval().project(batch.params)
    assert (projected - batch.landmarks)[..., :2].norm(dim=-1).mean() < 1.5
    box = batch.landmarks[..., :2].amax(1) - batch.landmarks[..., :2].amin(1)
    torch.testing.assert_close(box.amax(-1), torch.full((len(batch),), 120 / 2**0.5), atol=0.1, rtol=0)


def test_images_of_one_photo_stay_together() -> None:
    names = ["AFW/AFW_1_0.jpg", "AFW/AFW_1_12.jpg", "AFW_Flip/AFW_1_3.jpg", "AFW/AFW_2_0.jpg", "HELEN/AFW_1_0.jpg"]
    photos = [_photo_of(name) for name in names]
    assert photos[0] == photos[1] == photos[2]
    assert len(set(photos)) == 3
    many = np.array([f"photo {i // 5}" for i in range(500)])
    chosen = _choose_photos(many, 0.1)
    assert chosen.sum() == 50
    assert not set(many[chosen]) & set(many[~chosen])
    assert _choose_photos(many, 0.0).sum() == 5


def test_2d_points_leave_depth_and_parameters_unknown(shared_data: Path) -> None:
    data = ReaderData("facesynthetics", shared_data / "facesynthetics_sample")
    batch = data.train_set[[0]]
    assert batch.landmarks[..., :2].isfinite().all()
    assert batch.landmarks[..., 2].isnan().all()
    assert batch.params.isnan().all()


def test_jvcr_annotations_keep_their_split_and_a_larger_resolution(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    entries = []
    for i in range(6):
        cv2.imwrite(str(tmp_path / f"{i}.jpg"), rng.integers(0, 255, (200, 200, 3), np.uint8))
        landmarks = (rng.uniform(50, 150, (68, 3))).tolist()
        entries.append({"img_paths": f"{i}.jpg", "landmarks": landmarks, "isValidation": float(i in (1, 4))})
    broken = {**entries[0], "img_paths": "broken.jpg"}
    (tmp_path / "broken.jpg").write_bytes(b"no image")
    (tmp_path / "annotation.json").write_text(json.dumps([*entries, broken]))
    with pytest.warns(UserWarning, match=r"1 files of .* are left out, such as broken\.jpg"):
        data = ReaderData("jvcr", tmp_path / "annotation.json", resolution=256)
    assert len(data.train_set) == 4
    assert len(data.validation_sets["jvcr"]) == 2
    batch = data.validation_sets["jvcr"][[0, 1]]
    assert batch.image.shape == (2, 3, 256, 256)
    assert batch.landmarks.isfinite().all()
    box = batch.landmarks[..., :2].amax(1) - batch.landmarks[..., :2].amin(1)
    torch.testing.assert_close(box.amax(-1), torch.full((2,), 120 / 2**0.5), atol=0.01, rtol=0)
    expected = np.array(entries[1]["landmarks"])[:, 2]
    correlation = np.corrcoef(expected, batch.landmarks[0, :, 2])[0, 1]
    assert correlation > 0.999
