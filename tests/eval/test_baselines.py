import numpy as np
import pytest

from eval import baselines
from eval.baselines import Baseline


@pytest.mark.parametrize("row", baselines.AFLW2000_NME)
def test_means_are_those_of_the_bins(row: Baseline) -> None:
    *bins, mean, _ = row.values
    if None not in bins:
        assert np.mean(bins) == pytest.approx(mean, abs=0.011)


@pytest.mark.parametrize("row", baselines.AFLW2000_POSE)
def test_pose_means_are_those_of_the_angles(row: Baseline) -> None:
    *angles, mean = row.values
    if None not in angles:
        assert np.mean(angles) == pytest.approx(mean, abs=0.011)


def test_every_measured_row_says_what_it_was_measured_on() -> None:
    """A network's error on the published crops is not its error on ours."""
    for table in (baselines.AFLW2000_NME, baselines.AFLW2000_POSE, baselines.AFLW2000_DEPTH):
        measured = [row for row in table if "measured" in row.method]
        assert {row.crops for row in measured} == {baselines.PUBLISHED_CROPS, baselines.OUR_CROPS}
        assert len({(row.crops, row.pose_from) for row in measured}) == len(measured)
    assert all(row.pose_from != baselines.UNKNOWN for row in baselines.AFLW2000_POSE)
