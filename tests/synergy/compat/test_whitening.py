"""The whitening of 62 parameters in the three forms it is published in."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from bfm_assets import ModelFileError
from synergy.compat.whitening import read_whitening


@pytest.mark.parametrize("name", ["3ddfa_partial/param_mean_std_62d_120x120.pkl", "bfm68_basis.npz"])
def test_real_files_agree(shared_data: Path, name: str) -> None:
    whitening = read_whitening(shared_data / name)
    assert whitening.mean.dtype == np.float32
    # of 300W-LP's fits: the scale in crop pixels a micrometre, the face in the middle of 120 pixels
    assert whitening.mean[0] == pytest.approx(3.4926e-4, rel=1e-4)
    assert whitening.mean[3] == pytest.approx(60.168, rel=1e-4)


def test_synergynets_pickle(shared_data: Path) -> None:
    whitening = read_whitening(shared_data / "3ddfa_partial" / "param_whitening.pkl")
    assert whitening.mean.shape == whitening.std.shape == (62,)
    assert whitening.mean[3] == pytest.approx(60, abs=2)


@pytest.mark.parametrize(
    "content",
    [
        [1, 2],
        {"mean": np.zeros(62, np.float32)},
        {"mean": np.zeros(61, np.float32), "std": np.ones(61, np.float32)},
        {"mean": np.zeros(62, np.float32), "std": np.zeros(62, np.float32)},
        {"mean": np.full(62, np.nan, np.float32), "std": np.ones(62, np.float32)},
    ],
)
def test_anything_else_is_refused(tmp_path: Path, content: object) -> None:
    path = tmp_path / "whitening.pkl"
    path.write_bytes(pickle.dumps(content))
    with pytest.raises(ModelFileError, match="not a whitening"):
        read_whitening(path)


def test_numpy_pickles_of_every_protocol(tmp_path: Path) -> None:
    arrays = {"mean": np.arange(62.0), "std": np.ones(62)}
    for protocol in range(6):
        path = tmp_path / f"{protocol}.pkl"
        path.write_bytes(pickle.dumps(arrays, protocol))
        np.testing.assert_array_equal(read_whitening(path).mean, np.arange(62))
