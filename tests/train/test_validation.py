"""Validation figures: which box is used, what is left out, and that nothing in the data raises an error."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from bfm_assets import MorphableModel
from eval.metrics import box_size, nme
from synergy.landmarks import INNER51
from synergy.models import SynergyNet, SynergyOutput
from train.batch import Batch
from train.data import PackData, load_validation_sets
from train.packs.pack import Pack
from train.validation import FaceScores, score_network

SIDE = 120
Change = Callable[[Tensor], None]


@pytest.fixture
def batch(pack: Path, model_file: Path) -> Batch:
    """16 faces with exact labels, all of whose points are annotated."""
    return PackData(pack, str(model_file)).train_set[list(range(16))]


def predict(batch: Batch, error: float = 3.0) -> SynergyOutput:
    """Landmarks that are `error` pixels to the right, coarse ones twice as far, and exact parameters."""
    shift = torch.tensor([error, 0.0, 0.0])
    known = batch.landmarks.nan_to_num(60.0)
    return SynergyOutput(known + shift, known + 2 * shift, batch.params, batch.params)


def scores(*batches: Batch) -> dict[str, float]:
    accumulated = FaceScores()
    for batch in batches:
        accumulated.update(batch, predict(batch))
    return accumulated.compute()


def test_figures_are_those_of_the_definitions(batch: Batch) -> None:
    parts = [replace(batch, **{k: v[rows] for k, v in vars(batch).items()}) for rows in (slice(0, 5), slice(5, 16))]
    found = scores(*parts)
    predicted, true = predict(batch).landmarks[..., :2].numpy(), batch.annotated68.numpy()
    expected = nme(predicted, true, box_size(true))
    assert found["nme_all"] == pytest.approx(expected.mean(), rel=1e-5)
    inner = nme(predicted[:, INNER51], true[:, INNER51], box_size(true))
    assert found["inner_all"] == pytest.approx(inner.mean(), rel=1e-5)
    assert found["coarse_inner_all"] == pytest.approx(2 * inner.mean(), rel=1e-5)
    frontal = (batch.yaw.abs() <= 30).numpy()
    assert found["nme_0-30"] == pytest.approx(expected[frontal].mean(), rel=1e-5)
    assert found["pose_all"] == pytest.approx(0, abs=1e-3)
    assert "not_finite" not in found


def test_the_face_box_depends_on_what_is_annotated(batch: Batch) -> None:
    of_points = 100 * 3 / box_size(batch.annotated68.numpy())
    some = batch.annotated68.clone()
    some[3:] = torch.nan  # faces without any annotation, as in WFLW's crops
    assert scores(replace(batch, annotated68=some))["nme_all"] == pytest.approx(of_points[:3].mean(), rel=1e-4)
    half = batch.annotated68.clone()
    half[0, :30] = torch.nan  # one face with a part of the points, as in CFP's, SCUT's and AFLW's crops
    assert scores(replace(batch, annotated68=half))["nme_all"] == pytest.approx(100 * 3 / (SIDE / 2**0.5), rel=1e-4)


def nothing_known(batch: Batch) -> None:
    for tensor in (batch.landmarks, batch.params, batch.annotated68, batch.yaw):
        tensor.fill_(torch.nan)


def one_point(batch: Batch) -> None:
    batch.annotated68[:, 1:] = torch.nan


def labels_of_some(batch: Batch) -> None:
    batch.landmarks[::2] = torch.nan
    batch.params[::2] = torch.nan
    batch.yaw[::2] = torch.nan


def without_depth(batch: Batch) -> None:
    batch.landmarks[..., 2] = torch.nan
    batch.params.fill_(torch.nan)


def all_at_one_place(batch: Batch) -> None:
    batch.landmarks.fill_(50.0)
    batch.annotated68.fill_(50.0)


@pytest.mark.parametrize("change", [nothing_known, one_point, labels_of_some, without_depth, all_at_one_place])
def test_missing_labels_are_left_out(batch: Batch, change: Callable[[Batch], None]) -> None:
    change(batch)
    found = scores(batch)
    assert all(np.isfinite(value) for value in found.values())
    if change is nothing_known:
        assert found == {}
    if change is labels_of_some:
        assert found["label_nme_all"] > 0
        # An unknown yaw belongs to no bin: a few of these faces are beyond 60 degrees, or none.
        assert found["nme_all"] > 0


def test_labels_that_have_failed_are_left_out_but_not_their_annotations(
    pack: Path, model_file: Path, symmetric: MorphableModel, tmp_path: Path
) -> None:
    folder = shutil.copytree(pack, tmp_path / "pack")
    weight, landmarks = np.load(pack / "weight.npy"), np.load(pack / "landmarks68.npy")
    weight[64], landmarks[64] = 0, landmarks[64] / 120
    np.save(folder / "weight.npy", weight)
    np.save(folder / "landmarks68.npy", landmarks)
    faces = load_validation_sets(Pack.open(folder), symmetric)["helen_test"]
    batch = faces[list(range(8))]
    net = SynergyNet(symmetric, width=0.25, uncertainty=True).eval()
    net.set_whitening(batch.params[1:].mean(0), batch.params[1:].std(0))
    whole, rest = (score_network(net, [faces[rows]]) for rows in (list(range(8)), list(range(1, 8))))
    assert all(np.isfinite(value) for value in whole.values())
    for name in ("label_nme_all", "coarse_label_nme_all", "pose_all", "landmarks_within1", "rotation_within1"):
        assert whole[name] == pytest.approx(rest[name], rel=1e-4)
    assert batch.annotated68[0].isfinite().all()
    assert whole["nme_all"] != pytest.approx(rest["nme_all"], rel=1e-4)


def test_predictions_that_are_not_finite_are_counted_and_left_out(batch: Batch) -> None:
    output = predict(batch)
    output.landmarks[0] = torch.nan
    output.params[1] = torch.inf
    output.coarse[2] = torch.inf
    accumulated = FaceScores()
    accumulated.update(batch, output)
    found = accumulated.compute()
    assert found["not_finite"] == 2
    rest = [i for i in range(16) if i not in (0, 2)]
    expected = 100 * 3 / box_size(batch.annotated68.numpy())[rest]
    assert found["nme_all"] == pytest.approx(expected.mean(), rel=1e-4)
    assert all(np.isfinite(value) for value in found.values())


def test_a_set_without_batches_has_no_figures() -> None:
    assert FaceScores().compute() == {}
