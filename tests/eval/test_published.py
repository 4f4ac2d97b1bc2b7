import numpy as np
import pytest

from eval import published
from eval.published import Peer


@pytest.mark.parametrize("peer", published.AFLW2000_NME)
def test_means_are_those_of_the_bins(peer: Peer) -> None:
    *bins, mean, _ = peer.figures
    if None not in bins:
        assert np.mean(bins) == pytest.approx(mean, abs=0.011)


@pytest.mark.parametrize("peer", published.AFLW2000_POSE)
def test_pose_means_are_those_of_the_angles(peer: Peer) -> None:
    *angles, mean = peer.figures
    if None not in angles:
        assert np.mean(angles) == pytest.approx(mean, abs=0.011)


def test_every_measured_row_says_what_it_was_measured_on() -> None:
    """A network's error on the published crops is not its error on ours."""
    for table in (published.AFLW2000_NME, published.AFLW2000_POSE, published.AFLW2000_DEPTH):
        measured = [peer for peer in table if "measured" in peer.method]
        assert {peer.crops for peer in measured} == {published.PUBLISHED_CROPS, published.OUR_CROPS}
        assert len({(peer.crops, peer.pose_from) for peer in measured}) == len(measured)
    assert all(peer.pose_from != published.UNKNOWN for peer in published.AFLW2000_POSE)
