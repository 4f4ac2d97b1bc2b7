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
    """Return the true landmarks in the frame of the benchmark.

    Published scores on AFLW2000-3D use its 1-based pixels. Its landmarks are therefore moved back by one pixel to the
    right and down. Those of other data sets stay 0-based.

    Returns:
        (N, 68, 3 or 2) in pixels.

    Raises:
        UserError: some samples have depth and some do not.
    """
    if len({sample.landmarks68.shape[1] for sample in samples}) > 1:
        raise UserError("some of these samples have 3D landmarks and some 2D: score them separately")
    points = np.stack([sample.landmarks68 for sample in samples]).astype(np.float64)
    points[..., :2] += np.array([origin(sample) for sample in samples])[:, None, None]
    return points


def origin(sample: FaceSample) -> float:
    """Return the coordinate of the first pixel in the frame of `landmarks_as_scored`."""
    return MATLAB_ORIGIN if sample.source == AFLW2000Reader.source else 0.0
