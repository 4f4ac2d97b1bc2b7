import numpy as np
import torch

from synergy.landmarks import FLIP68
from train.labels.evidence import AFLW21, N_EVIDENCE, evidence_matrix
from train.labels.mirror import FLIP21


def test_every_evidence_point_is_a_mean_of_landmarks():
    matrix = evidence_matrix()
    assert matrix.shape == (N_EVIDENCE, 68)
    torch.testing.assert_close(matrix.sum(1), torch.ones(N_EVIDENCE, dtype=torch.float64))
    assert torch.equal(matrix[:68], torch.eye(68, dtype=torch.float64))


def test_aflws_points_are_symmetric():
    """The partner of an AFLW point is the mean of the partners of its landmarks."""
    partner = {int(i): int(j) for i, j in enumerate(FLIP68)}
    for point, other in enumerate(FLIP21):
        assert {partner[i] for i in AFLW21[point]} == set(AFLW21[other])
    assert np.array_equal(FLIP21[FLIP21], np.arange(21))
