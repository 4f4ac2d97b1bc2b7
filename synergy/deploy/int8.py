"""8-bit integers for the backbone of an ONNX model: static quantisation, per channel, calibrated on crops.

Two things keep the accuracy of a MobileNetV1. The channels of each feature map are scaled to similar ranges first. That
leaves the function as it is, because ReLU commutes with positive factors (Nagel et al. 2019, arXiv 1906.04721, section
4.1). And the last convolutions, the heads, MAFA and the geometry stay in fp32.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from synergy.engines import CropModel
from synergy.engines.onnx_graph import INPUT
from synergy.models.mobilenet import MobileNetV1

Image = NDArray[np.uint8]

_BATCH = 16
# Balance between the range of a channel and that of the weights that read it: 0.5 as in SmoothQuant (arXiv 2211.10438).
_BALANCE = 0.5
# No channel is scaled by more than this factor with respect to the others.
_RANGE = 1e3


def equalise_channels(model: CropModel, crops: Image) -> None:
    """Scale the channels of a MobileNetV1's feature maps to similar ranges. The function stays the same.

    A depthwise convolution has weights of its own for each channel, so any factor can go into them. A pointwise
    convolution shares one range among its input channels, so only a part of the factor goes into them. Other backbones
    are left as they are: ReLU6 and residual connections do not allow it.

    Args:
        model: changed in place.
        crops: (N, size, size, 3) uint8 RGB that show what the network will see.
    """
    backbone = getattr(model.net, "backbone", None)
    if not isinstance(backbone, MobileNetV1):
        return
    convolutions = [layer for layer in backbone if isinstance(layer, nn.Conv2d)]
    with torch.no_grad():
        largest = _largest_activations(model, convolutions, crops)
        for layer, reader, activation in zip(convolutions, convolutions[1:], largest, strict=False):
            assert layer.bias is not None
            is_depthwise = reader.groups > 1
            factor = activation
            if not is_depthwise:
                weight = reader.weight.abs().amax((0, 2, 3)).clamp_min(1e-6)
                factor = activation**_BALANCE / weight ** (1 - _BALANCE)
            factor = factor.clamp_min(factor.max() / _RANGE)
            factor = factor / factor.log().mean().exp()
            layer.weight /= factor[:, None, None, None]
            layer.bias /= factor
            reader.weight *= factor[:, None, None, None] if is_depthwise else factor[None, :, None, None]


def _largest_activations(model: CropModel, layers: list[nn.Conv2d], crops: Image) -> list[Tensor]:
    """Return per layer the largest output (channels,) after ReLU over crops."""
    largest = [torch.zeros(layer.out_channels) for layer in layers]

    def record(index: int, output: Tensor) -> None:
        largest[index] = torch.maximum(largest[index], output.amax((0, 2, 3)))

    hooks = [
        layer.register_forward_hook(lambda _, __, output, index=index: record(index, output))
        for index, layer in enumerate(layers)
    ]
    for start in range(0, len(crops), _BATCH):
        model(torch.from_numpy(crops[start : start + _BATCH]))
    for hook in hooks:
        hook.remove()
    return largest


def quantise(model: bytes, crops: Image, n_float: int) -> bytes:
    """Quantise the convolutions of an ONNX model.

    Args:
        model: the bytes of a file by `synergy.engines.onnx_graph.to_onnx`.
        crops: (N, size, size, 3) uint8 RGB for the ranges of the activations.
        n_float: how many convolutions at the end stay in fp32.
    """
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Crops(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.batches: Iterator[dict[str, Image]] = (
                {INPUT: crops[start : start + _BATCH]} for start in range(0, len(crops), _BATCH)
            )

        def get_next(self) -> dict[str, Image] | None:
            return next(self.batches, None)

    graph = onnx.load_from_string(model).graph
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    chosen = convolutions[: len(convolutions) - n_float]
    outputs = {output for node in chosen for output in node.output}
    # Without its activation, the output of a convolution would be quantised with the negative range that is cut off.
    activations = [node for node in graph.node if node.op_type in ("Relu", "Clip") and node.input[0] in outputs]
    with TemporaryDirectory() as folder:
        source, target = Path(folder, "fp32.onnx"), Path(folder, "int8.onnx")
        source.write_bytes(model)
        quantize_static(
            source,
            target,
            Crops(),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_quantize=[node.name for node in [*chosen, *activations]],
        )
        return target.read_bytes()
