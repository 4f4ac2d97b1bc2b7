import pytest

from synergy.benchmark import measure
from synergy.models.cost import count_weights


def test_every_figure_is_measured(small_net):
    figures = {m.name: m.value for m in measure(small_net, repeats=3)}
    assert all(value > 0 for value in figures.values())
    counted = count_weights(small_net) - count_weights(small_net.landmark_to_3dmm)
    assert figures["parameters"] == pytest.approx(counted / 1e6)
    # A batch never takes longer per crop than crops one by one, by more than noise.
    assert figures["network, crops per second at 64"] > 0.5 * 1000 / figures["network, one crop"]
