"""True landmarks in the frame in which a benchmark compares them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from synergy.data.aflw2000 import AFLW2000Reader
from synergy.data.sample import FaceSample
from synergy.data.w300lp_format import MATLAB_ORIGIN
from synergy.errors import UserError


def landmarks_as_scored(samples: Sequence[FaceSample]) -> NDArray[np.float64]:
    """Landmarks (N, 68, 3 or 2), 0-based; those of AFLW2000-3D with the one pixel that its published figures leave on.

    Raises:
        UserError: some samples have depth and some have not.
    """
    if len({sample.landmarks68.shape[1] for sample in samples}) > 1:
        raise UserError("some of these samples have 3D landmarks, some 2D: score them apart")
    points = np.stack([sample.landmarks68 for sample in samples]).astype(np.float64)
    points[..., :2] += np.array([MATLAB_ORIGIN * (s.source == AFLW2000Reader.source) for s in samples])[:, None, None]
    return points
