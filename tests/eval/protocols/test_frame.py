from dataclasses import replace

import numpy as np
import pytest

from eval.protocols.frame import landmarks_as_scored
from synergy.data.sample import FaceSample
from synergy.errors import UserError


def test_only_aflw2000_is_scored_in_one_based_pixels(samples: list[FaceSample]) -> None:
    pair = [samples[0], replace(samples[1], source="300w")]
    points = landmarks_as_scored(pair)
    assert points[0] - samples[0].landmarks68 == pytest.approx(np.tile([1, 1, 0], (68, 1)), abs=1e-5)
    assert points[1] == pytest.approx(samples[1].landmarks68)


def test_mixed_dimensions_are_an_error(samples: list[FaceSample]) -> None:
    flat = replace(samples[1], landmarks68=samples[1].landmarks68[:, :2])
    with pytest.raises(UserError, match="score them separately"):
        landmarks_as_scored([samples[0], flat])
