"""Engines by name, and what all engines and all networks that they run have in common."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import nn

from bfm_assets import MorphableModel
from synergy.deploy.exported import ExportedNetwork
from synergy.device import is_cpu, require_device
from synergy.engines.crop_model import CropModel, CropPredictions
from synergy.errors import UserError
from synergy.extras import has_onnx, needs_extra

ENGINES = ("auto", "torch", "onnxruntime")


class Network(Protocol):
    """A `SynergyNet`, a `LandmarkNet`, one of `synergy.compat`, or an exported model: what `make_engine` takes.

    Attributes:
        size: side of the crops in pixels.
        margin: side of the crops in units of the longer side of the landmarks' box (`synergy.crop.square_crop`).
        model_id: name of the weights.
        morphable_model: the morphable model of the predicted parameters.
    """

    size: int
    margin: float
    model_id: str
    morphable_model: MorphableModel


class Engine(Protocol):
    """Runs a network. It holds a copy of the network's weights and may be called from several threads.

    Attributes:
        name: a name of `ENGINES`.
    """

    name: str

    def __call__(self, crops: NDArray[np.uint8]) -> CropPredictions[NDArray[np.float32]]:
        """Predict crops (B, size, size, 3), uint8 RGB, with B of at least 1."""
        ...


def default_engine(device: str = "cpu") -> str:
    """Return the engine that "auto" means: onnxruntime on the CPU where the extra `onnx` is installed, else torch."""
    return "onnxruntime" if is_cpu(device) and has_onnx() else "torch"


def make_engine(
    name: str, net: nn.Module | ExportedNetwork, mirror: bool = False, device: str = "cpu", threads: int | None = None
) -> Engine:
    """Make an engine for a network.

    Args:
        name: a name of `ENGINES`.
        net: a `Network`. It is copied.
        mirror: predict every crop's mirror image too and take the mean.
        device: "cpu" or a device of torch.
        threads: number of threads for one batch. By default onnxruntime uses 1, and torch uses its own setting. torch
            has one number of threads for the whole process, and giving one here changes it.

    Raises:
        UserError: unknown name or device, an engine that is not installed, or one that cannot run this network on this
            device.

    Example:
        >>> from synergy.weights import load
        >>> engine = make_engine("torch", load())
        >>> engine(np.zeros((2, 120, 120, 3), np.uint8)).landmarks.shape
        (2, 68, 3)
    """
    if name not in ENGINES:
        raise UserError(f"unknown engine '{name}'; choose from {', '.join(ENGINES)}")
    if threads is not None and threads < 1:
        raise UserError(f"an engine needs at least 1 thread, got {threads}")
    if name == "auto":
        name = "onnxruntime" if isinstance(net, ExportedNetwork) else default_engine(device)
    if name == "onnxruntime":
        if not is_cpu(device):
            raise UserError(f"the engine onnxruntime runs on the CPU, not on '{device}': use torch")
        with needs_extra("onnx", "the engine onnxruntime"):
            from synergy.engines.onnx_engine import OnnxEngine
            from synergy.engines.onnx_graph import to_onnx

        if isinstance(net, ExportedNetwork):
            if mirror:
                raise UserError(f"{net.path}: an exported model cannot be mirrored; use synergy export --mirror")
            return OnnxEngine(net.model, net.outputs, threads or 1, str(net.path))
        model = CropModel(net, mirror).to("cpu")
        return OnnxEngine(to_onnx(model), model.outputs, threads or 1)
    if isinstance(net, ExportedNetwork):
        raise UserError(f"{net.path}: an exported model runs in onnxruntime only; give --engine onnxruntime")
    require_device(device)
    from synergy.engines.torch_engine import TorchEngine

    return TorchEngine(CropModel(net, mirror), device, threads)
