import numpy as np
import pytest
import torch

from synergy.benchmark.networks import FP32, PEERS, exported_candidate, own_candidates, peer_candidates
from synergy.deploy.exported import ExportedNetwork
from synergy.deploy.formats import export_fp32
from synergy.engines import CropModel
from synergy.errors import UserError

pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def peers():
    return {(one.network, one.engine): one for one in peer_candidates()}


@pytest.mark.parametrize("network", PEERS)
@pytest.mark.parametrize("batch", [1, 3])
def test_a_peer_computes_the_same_in_both_engines(peers, network, batch):
    threads = torch.get_num_threads()
    ours, theirs = (peers[network, engine].open(batch, threads)() for engine in (FP32, "torch"))
    assert theirs.shape == (batch, 62)
    np.testing.assert_allclose(ours[0], theirs.numpy(), atol=1e-4)


def test_an_own_network_runs_in_both_engines(small_net):
    for candidate in own_candidates(small_net):
        call = candidate.open(2, torch.get_num_threads())
        assert next(iter(call())).shape == (2, 68, 3)


def test_an_exported_network_is_compared_with_its_own_int8_form(small_net, tmp_path):
    with pytest.raises(UserError, match="there is no such file"):
        exported_candidate(small_net, tmp_path / "gone.onnx")
    path = tmp_path / "fp32.onnx"
    export_fp32("onnx", CropModel(small_net), path, np.zeros((1, 120, 120, 3), np.uint8))
    with pytest.raises(UserError, match=f"expected '{small_net.model_id} int8'"):
        exported_candidate(small_net, path)
    with pytest.raises(UserError, match="give --model the weights that it was made from"):
        own_candidates(ExportedNetwork(path))
