from dataclasses import dataclass, replace

import numpy as np
import pytest

from bfm_assets import MorphableModel, open_face
from eval import metrics
from eval.dense import add_dense_scores, dense_errors, require_same_mesh
from eval.predictions import Predictions
from eval.protocols import aflw2000
from synergy.data.sample import FaceSample
from synergy.data.w300lp_format import project_vertices
from synergy.errors import UserError


@dataclass
class FaceWithMesh:
    """Replaces a `Face`, of which only the mesh is used."""

    points: np.ndarray

    def vertices(self) -> np.ndarray:
        return self.points


def test_dense_errors_of_a_shift(samples: list[FaceSample], exact: Predictions, tiny_model: MorphableModel) -> None:
    params = np.zeros(12 + 199 + 29, np.float32)
    params[[0, 5, 10]] = 1e-3
    params[[3, 7]] = 60
    true = project_vertices(params, tiny_model, 120)
    size = metrics.box_size(true[tiny_model.landmarks][None])[0]
    errors = []
    for i, sample in enumerate(samples):
        face = FaceWithMesh(true + [3 * i, 4 * i, 50])  # a shift in depth is no error
        errors.append(dense_errors(replace(sample, params=params), face, tiny_model))  # type: ignore[arg-type]
    assert np.array(errors)[:, 0] == pytest.approx(500 * np.arange(6) / size, rel=1e-4, abs=1e-4)
    assert np.array(errors)[:, 1] == pytest.approx(0, abs=1e-2)  # nor is any shift of the whole mesh
    result = add_dense_scores(aflw2000.score(samples, exact), np.array(errors), tiny_model, "ours")
    dense = result.scores["dense"]
    assert dense["nme"] == pytest.approx(500 * 2.5 / size, rel=1e-4)
    assert (dense["counts"], dense["model"]) == (6, "tiny")
    assert dense["nme_summary"]["bins"] == pytest.approx(500 * np.array([0.5, 2.5, 4.5]) / size, rel=1e-4)
    assert result.tables[-1].rows[-1][:2] == ("ours", f"{dense['nme']:.2f}")
    assert "nme2d" in result.scores


def test_a_sample_without_parameters_is_an_error(samples: list[FaceSample], tiny_model: MorphableModel) -> None:
    with pytest.raises(ValueError, match="no fitted parameters"):
        dense_errors(samples[0], FaceWithMesh(np.zeros((100, 3))), tiny_model)  # type: ignore[arg-type]


def test_meshes_must_have_the_same_vertices(tiny_bfm: MorphableModel) -> None:
    require_same_mesh(tiny_bfm, tiny_bfm)
    with pytest.raises(UserError, match="these predict 'open-face"):
        require_same_mesh(tiny_bfm, open_face())
    with pytest.raises(UserError, match="landmark vertices only"):
        require_same_mesh(tiny_bfm.landmark_model(), tiny_bfm)


def test_the_true_mesh_needs_3ddfa_s_modes(tiny_bfm: MorphableModel) -> None:
    """BFM 2009 with Guo's expressions has as many vertices as 3DDFA's model."""
    with pytest.raises(UserError, match=r"3DDFA's modes .*; 'bfm-2009' has others"):
        require_same_mesh(replace(tiny_bfm, name="bfm-2009"), tiny_bfm)
