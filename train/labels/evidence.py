"""Which landmarks the labels of a data set speak about: 68 iBUG points, AFLW's 21 points, or both.

One face's evidence is 89 points, NaN where unknown: the 68 points, then AFLW's 21 in AFLW's order. Each AFLW point is
taken as a mean of iBUG points; where the two do not mean the same spot (brow centres, nostrils, ear lobes), the
difference is a systematic offset, which `train.labels.calibration` estimates.
"""

from __future__ import annotations

import torch
from torch import Tensor

N_EVIDENCE = 68 + 21

# AFLW's 21 points in its order, image left first, as means of 0-based iBUG points.
AFLW21 = (
    (17,), (19,), (21,), (22,), (24,), (26,),
    (36,), (36, 37, 38, 39, 40, 41), (39,), (42,), (42, 43, 44, 45, 46, 47), (45,),
    (0,), (31,), (30,), (35,), (16,),
    (48,), (62, 66), (54,), (8,),
)  # fmt: skip


def evidence_matrix() -> Tensor:
    """(89, 68) combinations of the 68 landmarks that each evidence point stands for."""
    matrix = torch.zeros(N_EVIDENCE, 68, dtype=torch.float64)
    matrix[:68] = torch.eye(68, dtype=torch.float64)
    for row, indices in enumerate(AFLW21):
        matrix[68 + row, list(indices)] = 1 / len(indices)
    return matrix
