from dataclasses import dataclass, replace

import numpy as np
import pytest

from bfm_assets import MorphableModel
from eval import metrics
from eval.dense import DenseErrors, dense_table
from synergy.data.sample import FaceSample
from synergy.data.w300lp_format import project_vertices


@dataclass
class Mesh:
    """Stands for a `Face`: all that is asked of it is its mesh."""

    points: np.ndarray

    def vertices(self) -> np.ndarray:
        return self.points


def test_dense_errors_of_a_shift(samples: list[FaceSample], tiny_model: MorphableModel) -> None:
    params = np.zeros(12 + 199 + 29, np.float32)
    params[[0, 5, 10]] = 1e-3
    params[[3, 7]] = 60
    errors = DenseErrors(tiny_model)
    sizes = []
    for sample in samples:
        labelled = replace(sample, params=params)
        true = project_vertices(params, tiny_model, 120)
        sizes.append(metrics.box_size(true[tiny_model.landmarks][None])[0])
        errors.update(labelled, Mesh(true + [3, 4, 50]))  # type: ignore[arg-type]
    dense = errors.compute()["dense"]
    assert dense["nme"] == pytest.approx(np.mean(500 / np.array(sizes)), rel=1e-4)
    assert dense["reconstruction"] == pytest.approx(0, abs=1e-2)
    assert dense["counts"] == 6
    assert dense["nme_summary"]["counts"] == [2, 2, 2]
    assert dense_table({"dense": dense}, "ours").rows[-1][0] == "ours"


def test_a_sample_without_parameters_is_an_error(samples: list[FaceSample], tiny_model: MorphableModel) -> None:
    with pytest.raises(ValueError, match="no fitted parameters"):
        DenseErrors(tiny_model).update(samples[0], Mesh(np.zeros((100, 3))))  # type: ignore[arg-type]
