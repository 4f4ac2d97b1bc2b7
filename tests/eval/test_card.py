"""The tables of the model card: changed images, groups of faces, lightness, and a run on a part of the real data."""

from __future__ import annotations

import tarfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from eval.card import (
    Variant,
    VariantPredictor,
    cheek_lightness,
    group_row,
    make_card,
    open_card_data,
    rotation_about_box,
)
from eval.inference import PredictedBatch
from eval.network import NetworkPredictor
from synergy.cli import app
from synergy.data.sample import FaceSample
from synergy.errors import UserError
from synergy.models import SynergyNet
from synergy.predictor import FacePredictor

BOX = np.array([30.0, 40.0, 90.0, 100.0], np.float32)


class Brightest:
    """Predicts 68 points at the centre of the brightest pixels, and keeps the images that it saw."""

    model_id, crops, pose_from = "brightest", "", ""

    def predict(self, samples: Sequence[FaceSample]) -> PredictedBatch:
        self.images = [sample.image for sample in samples]
        points = []
        for image in self.images:
            weight = image[..., 0].astype(float) ** 2
            y, x = np.mgrid[: image.shape[0], : image.shape[1]]
            points.append([(weight * x).sum() / weight.sum(), (weight * y).sum() / weight.sum(), 0.0])
        return PredictedBatch(np.tile(np.array(points)[:, None], (1, 68, 1)))


def sample_with_spot(x: int, y: int) -> FaceSample:
    image = np.zeros((140, 130, 3), np.uint8)
    image[y - 3 : y + 4, x - 3 : x + 4] = 250
    return FaceSample("a", image, np.zeros((68, 2), np.float32), np.full(68, 2, np.int8), box=BOX)


@pytest.mark.parametrize("angle", [0, 30, 90, 180, 250])
@pytest.mark.parametrize("side", [0, 24])
def test_landmarks_of_changed_images_are_those_of_the_original(angle: float, side: int) -> None:
    samples = [sample_with_spot(50, 60), sample_with_spot(75, 80)]
    inner = Brightest()
    landmarks = VariantPredictor(inner, Variant(angle, side)).predict(samples).landmarks68
    np.testing.assert_allclose(landmarks[:, 0, :2], [[50, 60], [75, 80]], atol=0.6)
    assert (inner.images[0] == samples[0].image).all() == (angle == 0 and side == 0)


def test_a_reduced_image_has_lost_its_details() -> None:
    stripes = np.zeros((120, 120, 3), np.uint8)
    stripes[:, ::2] = 255
    sample = replace(sample_with_spot(50, 60), image=stripes)
    inner = Brightest()
    VariantPredictor(inner, Variant(face_side=30)).predict([sample])
    assert inner.images[0][20:100, 20:100].std() < 20


def test_rotation_is_clockwise_and_keeps_the_centre() -> None:
    affine = rotation_about_box(BOX, 90)
    np.testing.assert_allclose(affine @ [60, 70, 1], [60, 70])
    np.testing.assert_allclose(affine @ [60, 60, 1], [70, 70])  # what was above the centre is now to its right


def test_lightness_of_the_cheeks() -> None:
    landmarks = np.zeros((68, 2))
    landmarks[:, 0], landmarks[:, 1] = np.linspace(20, 100, 68), np.linspace(30, 110, 68)
    image = np.full((140, 140, 3), 119, np.uint8)  # sRGB 119 has L* 50
    assert cheek_lightness(image, landmarks) == pytest.approx(50, abs=0.5)
    assert np.isnan(cheek_lightness(image, landmarks + 1000))


def test_a_row_leaves_unknown_errors_out() -> None:
    assert group_row("a", np.array([1.0, 3.0, np.nan])) == ("a", "2", "2.00", "1.00")
    assert group_row("b", np.array([np.nan])) == ("b", "0", "-", "-")


def test_missing_data_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has none of aflw_val\.tar, helen_test\.tar"):
        CliRunner().invoke(app, ["eval", "card", "--data", str(tmp_path)], catch_exceptions=False)


def test_files_that_were_skipped_are_reported(pts_folder: Path, tmp_path: Path) -> None:
    (pts_folder / "image00001.pts").write_text("")
    with tarfile.open(tmp_path / "helen_test.tar", "w") as tar:
        tar.add(pts_folder, "helen")
    with pytest.raises(UserError, match=r"^1 files of .*helen_test\.tar were skipped; the results"):
        CliRunner().invoke(
            app,
            ["eval", "card", "--data", str(tmp_path), "--model", "synergynet_small", "--out", str(tmp_path / "c.md")],
            catch_exceptions=False,
        )
    assert "| HELEN test | 5 |" in (tmp_path / "c.md").read_text()


def test_groups_of_the_real_data(shared_data: Path, small_net: SynergyNet) -> None:
    predictor = NetworkPredictor(FacePredictor(small_net))
    aflw, others, scut, changed = make_card(open_card_data(shared_data, 12), predictor, lambda _: iter)
    rows = {row[0]: int(row[1]) for row in aflw.rows}
    assert rows["all"] == rows["yaw up to 30 degrees"] + rows["yaw 30 to 60 degrees"] + rows["yaw beyond 60 degrees"]
    assert rows["all"] == sum(n for name, n in rows.items() if "covered" in name)
    assert rows["yaw up to 30 degrees"] == sum(n for name, n in rows.items() if "cheeks" in name)
    assert others.rows[0][0] == "HELEN test"
    assert [row[0] for row in scut.rows][:2] == ["Asian women", "Caucasian women"]
    assert "training" in scut.note
    assert changed.columns == ("images", "aflw_val", "helen_test")
    assert changed.rows[0][1] == aflw.rows[0][2]
