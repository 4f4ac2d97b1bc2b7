import numpy as np
import pytest

from eval import published


@pytest.mark.parametrize("row", published.AFLW2000_NME)
def test_means_are_those_of_the_bins(row: tuple[str, float | None, float | None, float | None, float]) -> None:
    bins = [value for value in row[1:4] if value is not None]
    assert np.mean(bins) == pytest.approx(row[4], abs=0.011)


@pytest.mark.parametrize("row", published.AFLW2000_POSE)
def test_pose_means_are_those_of_the_angles(row: tuple[str, float, float, float, float]) -> None:
    assert np.mean(row[1:4]) == pytest.approx(row[4], abs=0.011)
