"""The engine that runs a network in onnxruntime on the CPU."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from synergy.engines.crop_model import CropPredictions, join_predictions
from synergy.engines.onnx_graph import INPUT
from synergy.errors import UserError

# Larger batches leave the processor's cache and take up to 20 % more time per crop (docs/journal.md).
_CROPS_AT_ONCE = 16


class OnnxEngine:
    """Run an ONNX model in onnxruntime.

    Args:
        model: the bytes of the ONNX file.
        outputs: the fields of `CropPredictions` that it predicts.
        threads: number of threads for one batch.
        source: the file, for messages.

    Raises:
        UserError: onnxruntime cannot load the model, or its outputs are others.
    """

    name = "onnxruntime"

    def __init__(self, model: bytes, outputs: Sequence[str], threads: int = 1, source: str = "ONNX model") -> None:
        self.outputs = list(outputs)
        try:
            self.session = open_session(model, threads)
        except Exception as error:  # onnxruntime has an exception class for each status, without a common base class
            raise UserError(f"{source}: onnxruntime cannot load it ({str(error).splitlines()[0]})") from None
        found = {output.name for output in self.session.get_outputs()}
        if unknown := [name for name in outputs if name not in found or name not in CropPredictions._fields]:
            raise UserError(f"{source}: has no output '{unknown[0]}'")

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
