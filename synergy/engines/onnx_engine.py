"""The engine that runs a network in onnxruntime on the CPU."""

from __future__ import annotations

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from synergy.engines.crop_model import CropModel, CropPredictions, join_predictions
from synergy.engines.onnx_graph import INPUT, to_onnx

# Larger batches leave the processor's cache and take up to 20 % more time per crop (docs/journal.md).
_CROPS_AT_ONCE = 16


class OnnxEngine:
    """Run a network in onnxruntime. The ONNX model is made in memory, so that there is no second file of the weights.

    Args:
        model: the network with what comes before and after it, on the CPU.
        threads: number of threads for one batch.
    """

    name = "onnxruntime"

    def __init__(self, model: CropModel, threads: int = 1) -> None:
        self.outputs = list(model.outputs)
        self.session = open_session(to_onnx(model), threads)

    def __call__(self, crops: NDArray[np.uint8]) -> CropPredictions[NDArray[np.float32]]:
        """Predict crops (B, size, size, 3), uint8 RGB."""
        starts = range(0, len(crops), _CROPS_AT_ONCE)
        return join_predictions([self._run(crops[start : start + _CROPS_AT_ONCE]) for start in starts])

    def _run(self, crops: NDArray[np.uint8]) -> CropPredictions[NDArray[np.float32]]:
        arrays = self.session.run(self.outputs, {INPUT: crops})
        return CropPredictions(**dict(zip(self.outputs, arrays, strict=True)))


def open_session(model: bytes, threads: int = 1) -> onnxruntime.InferenceSession:
    """Open an ONNX model on the CPU.

    Threads that wait for work sleep and do not spin. Spinning threads take the time of other processes' threads.

    Args:
        model: the bytes of the ONNX file.
        threads: number of threads for one batch.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors only
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
