"""Public data sets as training batches."""

from __future__ import annotations

from pathlib import Path

import torch

from bfm_assets import open_face
from synergy.models import SynergyNet
from train.readers import ReaderData


def test_300w_lp_gets_parameters_of_the_open_face(shared_data: Path) -> None:
    data = ReaderData("300w-lp", shared_data / "300w_lp_sample", bfm=str(shared_data / "bfm68_basis.npz"))
    batch = data.train_set[list(range(len(data.train_set)))]
    projected = SynergyNet(open_face(), width=0.25).eval().project(batch.params)
    assert (projected - batch.landmarks)[..., :2].norm(dim=-1).mean() < 1.5
    box = batch.landmarks[..., :2].amax(1) - batch.landmarks[..., :2].amin(1)
    torch.testing.assert_close(box.amax(-1), torch.full((len(batch),), 120 / 2**0.5), atol=0.1, rtol=0)


def test_2d_points_leave_depth_and_parameters_unknown(shared_data: Path) -> None:
    data = ReaderData("facesynthetics", shared_data / "facesynthetics_sample")
    batch = data.train_set[[0]]
    assert batch.landmarks[..., :2].isfinite().all()
    assert batch.landmarks[..., 2].isnan().all()
    assert batch.params.isnan().all()
