from dataclasses import replace

import numpy as np
import pytest

from synergy.data import W300LPReader
from synergy.errors import UserError
from train.annotate.pipeline import LabelOptions, build_pack
from train.packs.layout_300wlp import export_300w_lp


def test_export_is_read_back_by_the_reader(pts_folder, tmp_path, few_modes):
    """A model in BFM's units, micrometres, fits the files of 300W-LP."""
    model = replace(
        few_modes,
        name="bfm-3ddfa",
        mean=few_modes.mean * 1000,
        shape_basis=few_modes.shape_basis * 1000,
        expression_basis=few_modes.expression_basis * 1000,
        mm_per_unit=1e-3,
    )
    model.save(tmp_path / "bfm.npz")
    options = LabelOptions(model=tmp_path / "bfm.npz", profile_step_deg=30, limit=2)
    pack = build_pack(pts_folder()[0], tmp_path / "pack", options)
    seen = []
    export_300w_lp(pack, tmp_path / "out", lambda done, total: seen.append((done, total)))
    plain, rebuilt = W300LPReader(tmp_path / "out"), W300LPReader(tmp_path / "out", model)
    assert seen[-1] == (len(plain), len(plain))
    assert len(plain) >= 4
    assert {name.rpartition("/")[0] for name in plain.names} == {"photos"}
    for i in range(len(plain)):
        sample, again = plain.read(i), rebuilt.read(i)
        assert sample.image.shape == (450, 450, 3)
        np.testing.assert_allclose(sample.landmarks68, again.landmarks68[:, :2], atol=0.01)


def test_packs_of_other_models_are_refused(pts_folder, tmp_path):
    pack = build_pack(pts_folder()[0], tmp_path / "pack", LabelOptions(limit=1))
    with pytest.raises(UserError, match="parameters of BFM"):
        export_300w_lp(pack, tmp_path / "out", lambda *_: None)
