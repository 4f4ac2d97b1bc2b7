from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from eval.predictions import Predictions
from eval.protocols.landmarks2d import score_300w, score_aflw
from eval.protocols.usable import has_68
from synergy.data.sample import FaceSample


def shifted(samples: list[FaceSample], shift: tuple[float, float]) -> Predictions:
    points = np.stack([sample.landmarks68 + np.float32([*shift, 0]) for sample in samples])
    return Predictions(tuple(sample.name for sample in samples), points, None, "shifted")


def test_300w_of_a_shift(samples: list[FaceSample]) -> None:
    nme2d = score_300w(samples, shifted(samples, (3, 4))).scores["nme2d"]
    xy = np.stack([sample.landmarks68[:, :2] for sample in samples]).astype(float)
    eyes = np.linalg.norm(xy[:, 36] - xy[:, 45], axis=1)
    box = np.sqrt(np.ptp(xy, 1).prod(1))
    for subset in ("all68", "inner51"):  # the inner points are measured by the box of all
        assert nme2d["inter_ocular"][subset]["mean"] == pytest.approx((500 / eyes).mean(), rel=1e-4)
        assert nme2d["box"][subset]["mean"] == pytest.approx((500 / box).mean(), rel=1e-4)


def test_nme_over_the_image_where_its_size_is_known(samples: list[FaceSample]) -> None:
    sized = [replace(sample, image_size=(512, 128)) for sample in samples]
    nme2d = score_300w(sized, shifted(sized, (3, 4))).scores["nme2d"]
    assert nme2d["image"]["all68"]["mean"] == pytest.approx(500 / 256, rel=1e-4)
    assert "image" not in score_300w([*sized[:-1], samples[-1]], shifted(sized, (3, 4))).scores["nme2d"]


def test_300w_jaw_alone(samples: list[FaceSample]) -> None:
    predictions = shifted(samples, (0, 0))
    predictions.landmarks68[:, :17] += 5
    nme2d = score_300w(samples, predictions).scores["nme2d"]
    assert nme2d["box"]["inner51"]["mean"] == pytest.approx(0, abs=1e-6)
    assert nme2d["box"]["all68"]["mean"] > 0


def test_aflw_scores_visible_points_over_the_stated_box(samples: list[FaceSample]) -> None:
    visibility = np.full(68, 2, np.int8)
    visibility[:40], visibility[40:50] = 0, 1  # self-occluded, and occluded by something: neither is scored
    hidden = [replace(sample, visibility68=visibility) for sample in samples]
    predictions = shifted(samples, (3, 4))
    predictions.landmarks68[:, :50] += 100
    result = score_aflw(hidden, predictions)
    assert result.scores["nme2d"]["visible68"]["bins"] == pytest.approx([100 * 5 / 80] * 3, rel=1e-5)
    assert result.scores["counts"]["bins"] == [2, 2, 2]
    assert np.isnan(result.point_errors[:, :50]).all()


def test_aflw_tells_covered_faces_apart(samples: list[FaceSample]) -> None:
    visibility = np.full(68, 2, np.int8)
    visibility[:9] = 1
    mixed = [replace(samples[0], visibility68=visibility), *samples[1:]]
    predictions = shifted(samples, (3, 4))
    predictions.landmarks68[0] += 1  # (4, 5) instead of (3, 4)
    nme2d = score_aflw(mixed, predictions).scores["nme2d"]
    assert nme2d["covered51"]["sample_mean"] == pytest.approx(100 * np.hypot(4, 5) / 80, rel=1e-5)
    assert nme2d["open51"]["sample_mean"] == pytest.approx(100 * 5 / 80, rel=1e-5)


def test_aflw_leaves_out_groups_without_visible_inner_points(samples: list[FaceSample]) -> None:
    """The jaw of the only covered face is visible, and its inner points are not."""
    visibility = np.full(68, 2, np.int8)
    visibility[17:] = 1
    covered = replace(samples[0], visibility68=visibility)
    scores = score_aflw([covered, *samples[1:]], shifted(samples, (3, 4))).scores
    assert set(scores["nme2d"]) == {"visible68", "visible51", "open51"}
    assert scores["counts"]["samples"] == 6
    assert set(score_aflw([covered], shifted(samples[:1], (3, 4))).scores["nme2d"]) == {"visible68"}


def test_3ddfa_v2_on_aflw_has_its_known_scores(shared_data: Path) -> None:
    """PROTOCOLS: 3.65 / 4.72 / 4.38, mean 4.25; inner 51: 2.97 / 3.24 / 3.82, mean 3.34."""
    from bfm_assets import read_bfm68
    from synergy.data import AnnotatedCropsReader

    model = read_bfm68(shared_data / "bfm68_basis.npz")
    teacher = np.load(shared_data / "aflw_val_teacher.npz")
    params, pose = teacher["params62"], teacher["params62"][:, :12].reshape(-1, 3, 4)
    vertices = model.vertices(params[:, 12:52], params[:, 52:]) @ pose[..., :3].swapaxes(1, 2) + pose[:, None, :, 3]
    points = np.stack([vertices[..., 0] - 1, 120 - vertices[..., 1], vertices[..., 2]], -1)
    reader = AnnotatedCropsReader(shared_data / "aflw_val.tar")
    samples = [sample for sample in reader.samples(image=False) if has_68(sample)]
    predictions = Predictions(tuple(teacher["names"].tolist()), points, None, "teacher")
    nme2d = score_aflw(samples, predictions.select([sample.name for sample in samples])).scores["nme2d"]
    assert [*nme2d["visible68"]["bins"], nme2d["visible68"]["mean"]] == pytest.approx(
        [3.65, 4.72, 4.38, 4.25], abs=0.005
    )
    assert [*nme2d["visible51"]["bins"], nme2d["visible51"]["mean"]] == pytest.approx(
        [2.97, 3.24, 3.82, 3.34], abs=0.005
    )
