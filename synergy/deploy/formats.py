"""The formats of exported models: how each is written, and how its file is run to check it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from synergy.deploy.description import write_description
from synergy.deploy.int8 import equalise_channels, quantise
from synergy.engines import CropModel
from synergy.engines.onnx_graph import INPUT, to_onnx
from synergy.errors import UserError
from synergy.extras import needs_extra

Image = NDArray[np.uint8]
Floats = NDArray[np.float32]
Runner = Callable[[Image], dict[str, Floats]]

# Largest distance in crop pixels between the landmarks of the file and those of torch.
MAX_DISTANCE = 0.01
# Largest relative increase of the NME by int8.
MAX_NME_INCREASE = 0.003
# How many convolutions at the end stay in fp32: the first number that keeps the NME is used. Two cost little time and
# halve the change of the landmarks (docs/journal.md).
_N_FLOAT = (2, 4, 6, 8)


@dataclass(frozen=True)
class Labelled:
    """Labelled crops: some to calibrate int8, the others to measure what it costs.

    Attributes:
        calibration: (M, size, size, 3) uint8 RGB.
        validation: (N, size, size, 3) uint8 RGB.
        landmarks: (N, 68, 2) true landmarks of the second, in crop pixels.
    """

    calibration: Image
    validation: Image
    landmarks: Floats


@dataclass(frozen=True)
class ExportFormat:
    """A format of exported models.

    Attributes:
        suffix: of its files.
        write: writes a model. The ONNX graph is given too.
        open: opens a written file.
    """

    suffix: str
    write: Callable[[CropModel, bytes, Path], None]
    open: Callable[[Path], Runner]


def export_onnx_int8(model: CropModel, path: Path, data: Labelled) -> dict[str, Any]:
    """Export a model to ONNX with a backbone in int8, and check its error.

    Args:
        model: the model. Its channels are scaled in place, which does not change what it computes.
        path: the `.onnx` file to write.
        data: crops to calibrate and to check.

    Returns:
        The measurements: NME of both precisions in percent, and the number of convolutions that stay in fp32.

    Raises:
        UserError: the error grows by more than 0.3 %. Nothing is written then.
    """
    from synergy.engines.onnx_engine import open_session

    def error_of(graph: bytes) -> float:
        session = open_session(graph)
        parts = [data.validation[i : i + 16] for i in range(0, len(data.validation), 16)]
        landmarks = np.concatenate([session.run(["landmarks"], {INPUT: part})[0] for part in parts])
        return _nme(landmarks, data.landmarks)

    equalise_channels(model, data.calibration)
    graph = to_onnx(model)
    reference = error_of(graph)
    for n_float in _N_FLOAT:
        quantised = quantise(graph, data.calibration, n_float)
        error = error_of(quantised)
        if error <= reference * (1 + MAX_NME_INCREASE):
            path.write_bytes(quantised)
            facts = {
                "nme_percent": {"fp32": round(reference, 4), "int8": round(error, 4)},
                "convolutions_in_fp32": n_float,
            }
            write_description(path, model, "int8", {"parity": facts})
            return facts
    increase = 100 * (error / reference - 1)
    raise UserError(f"int8 raises the NME by {increase:.2f} %, more than {100 * MAX_NME_INCREASE:g} %: not written")


def export_fp32(name: str, model: CropModel, path: Path, crops: Image) -> dict[str, Any]:
    """Export a model and compare its file with torch.

    Args:
        name: a name of `FORMATS`.
        model: the model.
        path: the file to write.
        crops: (N, size, size, 3) uint8 RGB to compare on.

    Returns:
        The measurements: the largest distance of landmarks in crop pixels.

    Raises:
        UserError: the format's package is missing, or the file predicts something else. Nothing is written then.
    """
    kind = FORMATS[name]
    with torch.no_grad():
        expected = dict(zip(model.outputs, (t.numpy() for t in model(torch.from_numpy(crops))), strict=True))
    with TemporaryDirectory(dir=path.parent) as folder:
        written = Path(folder) / path.name
        kind.write(model, to_onnx(model), written)
        facts = _parity(kind.open(written)(crops), expected, path)
        for file in Path(folder).iterdir():
            file.replace(path.parent / file.name)
    write_description(path, model, "fp32", {"parity": facts})
    return facts


def _parity(predicted: Mapping[str, Floats], expected: Mapping[str, Floats], path: Path) -> dict[str, float]:
    """Return how far the outputs of an exported file are from those of torch.

    Raises:
        UserError: too far.
    """
    distance = float(np.linalg.norm(predicted["landmarks"] - expected["landmarks"], axis=-1).max())
    other = max(float(np.abs(predicted[n] - expected[n]).max() / np.abs(expected[n]).max()) for n in expected)
    if not (distance <= MAX_DISTANCE and other <= MAX_DISTANCE):
        raise UserError(f"{path}: its landmarks differ from torch's by {distance:.3g} px: not written")
    return {
        "largest_landmark_distance_px": float(f"{distance:.2g}"),
        "largest_relative_difference": float(f"{other:.2g}"),
    }


def _nme(predicted: Floats, true: Floats) -> float:
    """Return the mean 2D distance in percent of the size sqrt(width height) of the true box."""
    distance = np.linalg.norm(predicted[..., :2] - true[..., :2], axis=-1).mean(1)
    return float((distance / np.sqrt(np.ptp(true[..., :2], axis=1).prod(1))).mean() * 100)


def _write_onnx(model: CropModel, graph: bytes, path: Path) -> None:  # noqa: ARG001
    path.write_bytes(graph)


def _open_onnx(path: Path) -> Runner:
    from synergy.engines.onnx_engine import open_session

    session = open_session(path.read_bytes())
    names = [output.name for output in session.get_outputs()]
    return lambda crops: dict(zip(names, session.run(names, {INPUT: crops}), strict=True))


def _write_torchscript(model: CropModel, graph: bytes, path: Path) -> None:  # noqa: ARG001
    crops = torch.zeros(2, model.size, model.size, 3, dtype=torch.uint8)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # torch recommends torch.export, whose files C++ programs cannot load
        torch.jit.trace(model, (crops,), check_trace=False).save(str(path))


def _open_torchscript(path: Path) -> Runner:
    from synergy.engines.crop_model import CropPredictions

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = torch.jit.load(str(path))

    def run(crops: Image) -> dict[str, Floats]:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            outputs = module(torch.from_numpy(crops))
        return dict(zip(CropPredictions._fields, (output.numpy() for output in outputs), strict=False))

    return run


def _write_openvino(model: CropModel, graph: bytes, path: Path) -> None:  # noqa: ARG001
    with needs_extra("openvino", "export to OpenVINO"):
        import openvino
    with TemporaryDirectory() as folder:
        source = Path(folder, "model.onnx")
        source.write_bytes(graph)
        openvino.save_model(openvino.convert_model(source), path, compress_to_fp16=False)


def _open_openvino(path: Path) -> Runner:
    import openvino

    compiled = openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

    def run(crops: Image) -> dict[str, Floats]:
        outputs = compiled(crops)
        return {output.get_any_name(): outputs[output] for output in compiled.outputs}

    return run


FORMATS = {
    "onnx": ExportFormat(".onnx", _write_onnx, _open_onnx),
    "torchscript": ExportFormat(".pt", _write_torchscript, _open_torchscript),
    "openvino": ExportFormat(".xml", _write_openvino, _open_openvino),
}

# Formats that cannot be written, and why.
UNAVAILABLE = {
    "tflite": "not written, because its converter litert-torch installs 40 packages (jax, transformers) and replaces "
    "typing_extensions by an older version",
    "coreml": "not written, because coremltools 9 cannot convert cross products, and its files run on macOS only, "
    "so that they cannot be checked here",
}
