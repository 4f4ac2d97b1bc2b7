"""`--model.model` takes every format of `bfm_assets`, as the documentation says."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from bfm_assets import open_face, read_model
from train.data import PackData
from train.module import SynergyModule

V, S, E = 90, 5, 3


def noneck(folder: Path) -> Path:
    """3DDFA_V2's `bfm_noneck_v3.pkl` of 90 random vertices, with its whitening."""
    rng = np.random.default_rng(0)
    entries = {
        "u": rng.normal(size=(3 * V, 1)) * 5e4,
        "w_shp": rng.normal(size=(3 * V, S)),
        "w_exp": rng.normal(size=(3 * V, E)),
        "keypoints": (3 * rng.permutation(V)[:68, None] + np.arange(3)).ravel(),
        "tri": np.array([[0, 1, 2], [1, 2, 3]]).T,
    }
    (folder / "bfm_noneck_v3.pkl").write_bytes(pickle.dumps(entries))
    whitening = {"mean": np.zeros(62, np.float32), "std": np.ones(62, np.float32)}
    (folder / "param_mean_std_62d_120x120.pkl").write_bytes(pickle.dumps(whitening))
    return folder / "bfm_noneck_v3.pkl"


def basis68(folder: Path) -> Path:
    """A 68-point basis of random modes."""
    rng = np.random.default_rng(0)
    np.savez(
        folder / "basis.npz",
        mean=rng.normal(size=(68, 3)) * 5e4,
        shape_basis=rng.normal(size=(68, 3, S)),
        expression_basis=rng.normal(size=(68, 3, E)),
        param_mean62=np.zeros(62),
        param_std62=np.ones(62),
    )
    return folder / "basis.npz"


@pytest.mark.parametrize("write", [noneck, basis68])
def test_a_network_and_its_labels_are_of_the_given_bfm(tmp_path: Path, pack: Path, write) -> None:
    path = write(tmp_path)
    module = SynergyModule(str(path), width=0.25)
    assert module.net.morphable_model.digest == read_model(path).digest
    assert module.net(torch.zeros(1, 3, 120, 120)).params.shape == (1, 12 + S + E)
    assert PackData(pack, str(path), limit=4).train_set.label("params").shape[1] == 12 + S + E


def test_the_bundled_model_has_a_name() -> None:
    assert read_model("open_face") is open_face()
