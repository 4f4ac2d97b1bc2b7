"""A `CropModel` as an ONNX graph whose batch size is free."""

from __future__ import annotations

import warnings
from io import BytesIO
from threading import Lock
from typing import Any

import torch
from torch.onnx import (  # type: ignore[attr-defined]
    register_custom_op_symbolic,
    symbolic_helper,
    symbolic_opset9,
    symbolic_opset13,
)

from synergy.engines.crop_model import CropModel
from synergy.extras import needs_extra
from synergy.models.synergynet import SynergyNet

OPSET = 17
INPUT = "crops"
BATCH = "batch"

# The exporter of torch keeps its state in global variables.
_LOCK = Lock()


def to_onnx(model: CropModel) -> bytes:
    """Return a model as the bytes of an ONNX file.

    The input is `crops` (batch, size, size, 3) uint8 RGB. The outputs are the model's `outputs`, float32.

    Args:
        model: the model, on the CPU.

    Raises:
        UserError: the package onnx, which torch's exporter uses, is not installed.
    """
    with needs_extra("onnx", "an ONNX graph"):
        import onnx  # noqa: F401
    crops = torch.zeros(1, model.size, model.size, 3, dtype=torch.uint8)
    names = [INPUT, *model.outputs]
    if isinstance(model.net, SynergyNet):
        model.net.projection = "plain"  # pytorch3d's cameras cannot be exported
    file = BytesIO()
    with _LOCK, warnings.catch_warnings(), torch.inference_mode(False), torch.no_grad():
        # torch warns that this exporter is the old one, and of every tensor that tracing takes as a constant. The new
        # exporter needs two more packages and ten times the time. Tests compare the graph for many batch sizes.
        warnings.simplefilter("ignore")
        register_custom_op_symbolic("aten::unflatten", _unflatten, OPSET)
        register_custom_op_symbolic("aten::flatten", _flatten, OPSET)
        register_custom_op_symbolic("aten::linalg_cross", _cross, OPSET)
        register_custom_op_symbolic("aten::mT", _transpose, OPSET)
        torch.onnx.export(
            model.eval(),
            (crops,),
            file,  # type: ignore[arg-type]  # this exporter takes a file
            dynamo=False,
            input_names=names[:1],
            output_names=names[1:],
            dynamic_axes={name: {0: BATCH} for name in names},
            opset_version=OPSET,
        )
    return file.getvalue()


def _transpose(graph: Any, matrices: Any) -> Any:
    """Write `matrices.mT`, which the exporter does not know."""
    *batch, rows, columns = range(matrices.type().dim())
    return graph.op("Transpose", matrices, perm_i=[*batch, columns, rows])


# The exporter's own forms of these functions compute shapes and indices at run time, in several operations each. In the
# shape of a Reshape, 0 keeps a dimension and -1 is computed.


def _unflatten(graph: Any, tensor: Any, dim: Any, sizes: Any) -> Any:
    """Write `tensor.unflatten(-1, sizes)` as one Reshape, and other dimensions as the exporter does."""
    rank = tensor.type().dim()
    if symbolic_helper._get_const(dim, "i", "dim") not in (-1, rank - 1):
        return symbolic_opset13.unflatten(graph, tensor, dim, sizes)
    shape = [0] * (rank - 1) + list(symbolic_helper._get_const(sizes, "is", "sizes"))[:-1] + [-1]
    return graph.op("Reshape", tensor, graph.op("Constant", value_t=torch.tensor(shape)))


def _flatten(graph: Any, tensor: Any, start: Any, end: Any) -> Any:
    """Write `tensor.flatten(start, -1)` as one Reshape, and other ends as the exporter does."""
    rank = tensor.type().dim()
    first, last = (symbolic_helper._get_const(value, "i", "dim") % rank for value in (start, end))
    if last != rank - 1:
        return symbolic_opset9.flatten(graph, tensor, start, end)
    return graph.op("Reshape", tensor, graph.op("Constant", value_t=torch.tensor([0] * first + [-1])))


def _cross(graph: Any, a: Any, b: Any, dim: Any) -> Any:
    """Write a cross product as products of permuted vectors."""
    axis = symbolic_helper._get_const(dim, "i", "dim")
    forward, backward = (graph.op("Constant", value_t=torch.tensor(order)) for order in ([1, 2, 0], [2, 0, 1]))

    def product(first: Any, second: Any) -> Any:
        return graph.op("Mul", graph.op("Gather", a, first, axis_i=axis), graph.op("Gather", b, second, axis_i=axis))

    return graph.op("Sub", product(forward, backward), product(backward, forward))
