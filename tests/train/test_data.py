"""Samples of packs, how often each is drawn, and from where a resumed run goes on."""

from __future__ import annotations

from pathlib import Path

import lightning.pytorch as pl
import numpy as np
import pytest

from bfm_assets import open_face
from synergy.errors import UserError
from train.data import PackData, StepSampler
from train.packs.rendered import render_pack


def test_sampler_draws_every_sample_as_often_as_asked() -> None:
    sampler = StepSampler(np.array([1.0, 1.0, 2.0, 2.0] * 25), 10, 0, lambda: 0)
    drawn = np.bincount(np.concatenate(list(sampler)), minlength=100)
    assert drawn.sum() == 100
    assert (drawn[2::4] >= 1).all()
    assert drawn[2::4].sum() == pytest.approx(33, abs=2)


def test_sampler_goes_on_where_a_run_stopped() -> None:
    def batches(start: int) -> list[list[int]]:
        return list(StepSampler(np.ones(100), 10, 0, lambda: start))

    assert batches(4) == batches(0)[4:]
    assert batches(13) == batches(10)[3:]
    assert batches(0) != batches(10)


def test_sampler_divides_a_batch_among_processes() -> None:
    whole = list(StepSampler(np.ones(40), 8, 0, lambda: 0))
    parts = [list(StepSampler(np.ones(40), 4, 0, lambda: 0, rank, 2)) for rank in range(2)]
    assert [a + b for a, b in zip(*parts, strict=True)] == whole


def test_sampling_weights_say_how_often_a_source_is_drawn(model_file: Path, pack: Path) -> None:
    def data(large_poses: float, **weights: float) -> PackData:
        return PackData(pack, str(model_file), large_poses=large_poses, sampling_weights=weights)

    assert (data(0, fake=0.5).frequency == 0.5).all()
    yaw = data(0).train_set.label("yaw").abs().numpy()
    np.testing.assert_allclose(data(1, fake=0.5).frequency, 0.5 * (1 + yaw / 60))
    assert len(data(0, fake=0).train_set) == 0
    with pytest.raises(UserError, match=r"data.sampling_weights: .* has no source helen, only fake"):
        data(0, helen=2)


def test_several_batches_per_step_are_refused(model_file: Path, pack: Path) -> None:
    data = PackData(pack, str(model_file))
    data.trainer = pl.Trainer(accelerator="cpu", devices=1, accumulate_grad_batches=2, logger=False)
    with pytest.raises(UserError, match=r"^--trainer\.accumulate_grad_batches: a step is always one batch"):
        data.train_dataloader()


def test_each_process_keeps_its_faces_on_its_own_gpu(
    model_file: Path, pack: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCAL_RANK", "99")
    with pytest.raises(UserError, match="device 'cuda:99' cannot be used"):
        PackData(pack, str(model_file), device="cuda")


def test_more_packs_add_training_faces_only(tmp_path: Path) -> None:
    first, second = (render_pack(tmp_path / str(n), open_face(), n, n, lambda *_: None) for n in (3, 2))
    alone, both = PackData(first), PackData(first, extra_packs=[second])
    assert (len(alone.train_set), len(both.train_set)) == (3, 5)
    assert alone.facts["packs"] == both.facts["packs"][:1] != both.facts["packs"]
    batch, expected = both.train_set[[3, 4]], PackData(second).train_set[[0, 1]]
    np.testing.assert_array_equal(batch.image, expected.image)
    np.testing.assert_array_equal(batch.params, expected.params)
