import pickle
import sys

import numpy as np
import pytest
import torch

from synergy.engines import make_engine
from synergy.engines.base import default_engine
from synergy.errors import UserError
from synergy.models import SynergyNet
from synergy.predictor import FacePredictor


@pytest.fixture(scope="module")
def crops():
    return np.random.default_rng(0).integers(0, 256, (65, 120, 120, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def uncertain_net(small_net):
    """A network with uncertainty heads whose outputs depend on the image."""
    torch.manual_seed(0)
    net = SynergyNet(small_net.morphable_model, "mobilenet_v1_small", 0.5, mafa_width=0.25, uncertainty=True)
    net.set_whitening(small_net.param_mean, small_net.param_std)
    torch.nn.init.normal_(net.uncertainty.out.weight)
    return net.eval()


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "mirror"])
def both_engines(request, uncertain_net):
    pytest.importorskip("onnxruntime")
    return [make_engine(name, uncertain_net, mirror=request.param) for name in ("torch", "onnxruntime")]


@pytest.mark.parametrize("batch", [1, 2, 63, 64, 65])
def test_onnxruntime_predicts_what_torch_predicts(both_engines, crops, batch):
    """The batch sizes around those where a traced graph with a fixed size would break."""
    expected, predicted = (engine(crops[:batch]) for engine in both_engines)
    for name, first, second in zip(expected._fields, expected, predicted, strict=True):
        assert first.shape[0] == second.shape[0] == batch
        assert first.dtype == second.dtype == np.float32
        np.testing.assert_allclose(second, first, atol=1e-3, rtol=1e-4, err_msg=name)


def test_networks_without_uncertainty_predict_none(small_net, crops):
    pytest.importorskip("onnxruntime")
    for name in ("torch", "onnxruntime"):
        predicted = make_engine(name, small_net)(crops[:2])
        assert [array is None for array in predicted] == [False, False, True, True, True]


def test_the_engine_computes_the_unfolded_network(small_net, crops):
    with torch.no_grad():
        output = small_net(torch.from_numpy(crops[:3]).permute(0, 3, 1, 2))
        params = small_net.match_landmarks(output.params, output.landmarks)
    predicted = make_engine("torch", small_net)(crops[:3])
    np.testing.assert_allclose(predicted.landmarks, output.landmarks.numpy(), atol=1e-3)
    np.testing.assert_allclose(predicted.params, params.numpy(), atol=1e-3, rtol=1e-4)


def test_auto_is_onnxruntime_on_cpus_where_it_is_installed(monkeypatch):
    expected_engines = [
        ((), "cpu", "torch"),
        (("onnxruntime",), "cpu", "torch"),  # without onnx there is no graph for it
        (("onnxruntime", "onnx"), "cpu", "onnxruntime"),
        (("onnxruntime", "onnx"), "cpu:0", "onnxruntime"),
        (("onnxruntime", "onnx"), "cuda", "torch"),
    ]
    for installed, device, expected in expected_engines:
        monkeypatch.setattr("synergy.extras.find_spec", lambda name, installed=installed: name in installed or None)
        assert default_engine(device) == expected


def test_a_graph_without_the_package_onnx_is_one_line(small_net, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(UserError, match="an ONNX graph needs onnx; install the extra 'onnx'"):
        make_engine("onnxruntime", small_net)


@pytest.mark.parametrize("name", ["torch", "onnxruntime"])
def test_an_engine_leaves_its_network_as_it_was(small_net, crops, name):
    expected = make_engine(name, small_net)(crops[:2]).landmarks
    small_net.train()
    predicted = make_engine(name, small_net)(crops[:2]).landmarks
    assert small_net.training
    assert small_net.backbone.training
    small_net.eval()
    np.testing.assert_array_equal(predicted, expected)


WRONG = [
    # name, device, threads, what is said
    ("tensorrt", "cpu", None, "unknown engine 'tensorrt'; choose from auto, torch, onnxruntime"),
    ("onnxruntime", "cuda", None, "the engine onnxruntime runs on the CPU, not on 'cuda': use torch"),
    ("torch", "cpu", 0, "an engine needs at least 1 thread, got 0"),
]


@pytest.mark.parametrize(("name", "device", "threads", "message"), WRONG)
def test_what_cannot_be_done_is_one_line(small_net, name, device, threads, message):
    with pytest.raises(UserError) as error:
        make_engine(name, small_net, device=device, threads=threads)
    assert str(error.value) == message


def test_an_engine_that_is_not_installed(small_net, monkeypatch):
    monkeypatch.delitem(sys.modules, "synergy.engines.onnx_engine", raising=False)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(
        UserError, match=r"the engine onnxruntime needs onnxruntime; install the extra 'onnx' \(docs/install\.md\)"
    ):
        make_engine("onnxruntime", small_net)


def test_a_pickled_predictor_makes_its_engine_again(small_net, crops):
    pytest.importorskip("onnxruntime")
    predictor = FacePredictor(small_net, engine="onnxruntime")
    restored = pickle.loads(pickle.dumps(predictor))
    assert restored.engine.name == "onnxruntime"
    first, second = predictor.predict_crops(crops[:2]), restored.predict_crops(crops[:2])
    np.testing.assert_array_equal(first.landmarks, second.landmarks)


@pytest.mark.parametrize("wrong", [np.zeros((0, 120, 120, 3), np.uint8), np.zeros((1, 120, 120, 3)), np.zeros((2, 3))])
def test_wrong_crops_are_one_line(small_net, wrong):
    with pytest.raises(ValueError, match=r"crops are \(N, 120, 120, 3\) uint8 with N of at least 1, got"):
        FacePredictor(small_net, engine="torch").predict_crops(wrong)


class Reshaping(torch.nn.Module):
    """Flattens and unflattens in the middle, which the graph's own forms of both functions do not cover."""

    def forward(self, crops):
        rows = crops.float().flatten(1, 2).unflatten(1, (4, -1))
        return (rows.mean((2, 3)),)


@pytest.mark.parametrize("batch", [1, 3])
def test_reshapes_of_inner_dimensions_are_exported(batch):
    onnxruntime = pytest.importorskip("onnxruntime")
    from synergy.engines.onnx_graph import INPUT, to_onnx

    model = Reshaping()
    model.size, model.net, model.outputs = 8, None, ("means",)
    session = onnxruntime.InferenceSession(to_onnx(model), providers=["CPUExecutionProvider"])
    crops = np.random.default_rng(0).integers(0, 256, (batch, 8, 8, 3), dtype=np.uint8)
    (expected,) = model(torch.from_numpy(crops))
    np.testing.assert_allclose(session.run(None, {INPUT: crops})[0], expected.numpy(), rtol=1e-5)
