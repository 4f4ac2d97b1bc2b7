"""The networks that the benchmark compares, as candidates to time.

The peers are built from their public descriptions with random weights, which take the same time as trained ones. They
are the bare networks: an image that is already normalised goes in, 62 whitened parameters come out. This project's
networks do all of their work instead: uint8 crops go in; refined landmarks, pose and parameters come out.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from torch import nn

from synergy.benchmark.timing import Opener
from synergy.compat.whitening import N_PARAMS
from synergy.deploy.exported import ExportedNetwork
from synergy.engines import CropModel, Network
from synergy.engines.torch_engine import TorchEngine
from synergy.errors import UserError
from synergy.extras import has_onnx, needs_extra
from synergy.models.backbone import Backbone
from synergy.models.fold import fold_batch_norm
from synergy.models.mobilenet import MobileNetV1, MobileNetV2

SIZE = 120
FP32, INT8 = "onnxruntime", "onnxruntime int8"
SYNERGYNET = "synergynet-public"
TDDFA_V2 = "3ddfa-v2-mobilenet-v1-x1"
TDDFA_V2_SMALL = "3ddfa-v2-mobilenet-v1-x0.5"
# Name (the `model_id` of the trained network in `synergy.compat`) to backbone. SynergyNet: Wu et al. 2021,
# arXiv 2110.09772. 3DDFA_V2: Guo et al. 2020, arXiv 2009.09960, and its configurations of width 1 and 0.5.
PEERS: dict[str, Callable[[], Backbone]] = {
    SYNERGYNET: MobileNetV2,
    TDDFA_V2: MobileNetV1,
    TDDFA_V2_SMALL: lambda: MobileNetV1(0.5),
}


@dataclass(frozen=True)
class Candidate:
    """A network in an engine.

    Attributes:
        network: `model_id` of an own network, a key of `PEERS`, or a name of `synergy.benchmark.installed`.
        engine: `FP32`, `INT8` or "torch".
        open: opens it for a batch size and a number of threads.
        largest_batch: the largest batch size that is measured, None for any.
    """

    network: str
    engine: str
    open: Callable[[int, int], Callable[[], object]]
    largest_batch: int | None = None

    def opener(self, batch: int, threads: int) -> Opener:
        """Return what `measure_in_turns` opens."""
        return lambda: self.open(batch, threads)


def own_candidates(net: Network) -> list[Candidate]:
    """Return a network of this project in every engine that is installed.

    Raises:
        UserError: it is an exported model.
    """
    if not isinstance(net, nn.Module):
        raise UserError(f"{net.model_id}: is an exported model; give --model the weights that it was made from")
    model = CropModel(net)

    def open_torch(batch: int, threads: int) -> Callable[[], object]:
        engine, crops = TorchEngine(model, threads=threads), _crops(batch, net.size)
        return lambda: engine(crops)

    found = [Candidate(net.model_id, "torch", open_torch)]
    if has_onnx():
        from synergy.engines.onnx_graph import INPUT, to_onnx

        graph = to_onnx(model)
        found.insert(0, Candidate(net.model_id, FP32, _session(graph, INPUT, lambda b: _crops(b, net.size))))
    return found


def exported_candidate(net: Network, file: Path) -> Candidate:
    """Return the int8 form of a network, an ONNX file of `synergy export onnx --int8`.

    Raises:
        UserError: the file is not an exported form of this network in int8, or onnxruntime is not installed.
    """
    with needs_extra("onnx", "--int8"):
        from synergy.engines.onnx_graph import INPUT
    exported = ExportedNetwork(file, net.morphable_model)
    if exported.model_id != f"{net.model_id} int8":
        raise UserError(f"--int8 {file}: is '{exported.model_id}', expected '{net.model_id} int8'")
    return Candidate(net.model_id, INT8, _session(exported.model, INPUT, lambda batch: _crops(batch, net.size)))


def peer_candidates() -> list[Candidate]:
    """Return the peers in every engine that is installed."""
    found = []
    for name, backbone in PEERS.items():
        torch.manual_seed(0)
        features = backbone()
        net = fold_batch_norm(nn.Sequential(features, nn.Linear(features.n_features, N_PARAMS)).eval())
        if has_onnx():
            found.append(Candidate(name, FP32, _session(_export(net), "images", _images)))
        found.append(Candidate(name, "torch", _in_torch(net)))
    return found


def _in_torch(net: nn.Module) -> Callable[[int, int], Callable[[], object]]:
    """Return the function that opens a peer in torch."""

    def open_network(batch: int, threads: int) -> Callable[[], object]:
        torch.set_num_threads(threads)
        images = torch.from_numpy(_images(batch))

        @torch.inference_mode()
        def call() -> object:
            return net(images)

        return call

    return open_network


def _session(graph: bytes, name: str, inputs: Callable[[int], object]) -> Callable[[int, int], Callable[[], object]]:
    """Return the function that opens a graph in onnxruntime."""

    def open_network(batch: int, threads: int) -> Callable[[], object]:
        from synergy.engines.onnx_engine import open_session

        session, data = open_session(graph, threads), inputs(batch)
        return lambda: session.run(None, {name: data})

    return open_network


def _export(net: nn.Module) -> bytes:
    """Return a peer as the bytes of an ONNX file with a free batch size."""
    file = BytesIO()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # torch warns that this exporter is the old one
        torch.onnx.export(
            net,
            (torch.from_numpy(_images(1)),),
            file,  # type: ignore[arg-type]  # this exporter takes a file
            dynamo=False,
            input_names=["images"],
            output_names=["parameters"],
            dynamic_axes={"images": {0: "batch"}, "parameters": {0: "batch"}},
            opset_version=17,
        )
    return file.getvalue()


def _crops(batch: int, size: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Return random crops (B, size, size, 3) uint8."""
    return np.random.default_rng(0).integers(0, 256, (batch, size, size, 3), dtype=np.uint8)


def _images(batch: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """Return random normalised images (B, 3, 120, 120)."""
    return np.random.default_rng(0).uniform(-1, 1, (batch, 3, SIZE, SIZE)).astype(np.float32)
