"""All models side by side: size, multiply-adds, file size, latency and error."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from bfm_assets import open_face
from synergy.benchmark.cost import network_cost
from synergy.benchmark.networks import own_candidates
from synergy.benchmark.timing import Progress, measure_in_turns
from synergy.engines import CropModel, Network
from synergy.extras import has_onnx
from synergy.networks import build_network
from synergy.weights import bundled_weights

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# The landmark networks without trained weights: name, network and options. Trained ones are given by --model.
UNTRAINED: dict[str, tuple[str, dict[str, Any]]] = {
    "direct, MobileNetV1 x0.5": ("direct", {"width": 0.5}),
    "direct, MobileNetV2 x0.5": ("direct", {"backbone": "mobilenet_v2", "width": 0.5}),
    "direct, MobileNetV3-small": ("direct", {"backbone": "mobilenet_v3_small"}),
    "direct, Xception x0.25": ("direct", {"backbone": "xception", "width": 0.25}),
    "PFLD x1": ("pfld", {}),
    "PFLD x0.25": ("pfld", {"width": 0.25}),
    "SLPT small": ("slpt", {}),
    "JVCR tiny": ("jvcr", {"variant": "tiny"}),
    "JVCR small": ("jvcr", {"variant": "small"}),
}


@dataclass(frozen=True)
class ModelRow:
    """One model.

    Attributes:
        name: of the model.
        trained: whether it has trained weights. Times and sizes do not depend on them.
        parameters: millions of parameters that predict.
        macs: millions of multiply-accumulates of one crop.
        fp32_mb: size of its ONNX file in millions of bytes, None without the extra `onnx`.
        int8_mb: the same with the convolutions in int8.
        median_ms: median time of one crop.
        error: in percent, None where it is not known.
    """

    name: str
    trained: bool
    parameters: float
    macs: float
    fp32_mb: float | None
    int8_mb: float | None
    median_ms: float
    error: float | None


def untrained_models() -> dict[str, Network]:
    """Return the networks of `UNTRAINED` with random weights."""
    torch.manual_seed(0)
    model = open_face()
    return {name: build_network(net, model, **options).eval() for name, (net, options) in UNTRAINED.items()}


def described_error(spec: str, figure: str) -> float | None:
    """Return a validation figure from the description of weights, None where there is none.

    Args:
        spec: what `synergy.registry.open_network` takes.
        figure: the validation set and the name of the figure, for example "aflw_val/nme_mean".
    """
    path = bundled_weights().get(spec, Path(spec) if Path(spec).exists() else Path(spec.rpartition(":")[2]))
    validation_set, _, name = figure.partition("/")
    try:
        return float(json.loads(path.with_suffix(".json").read_text())["validation"][validation_set][name])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def measure_models(
    trained: Mapping[str, Network],
    untrained: Mapping[str, Network],
    errors: Mapping[str, float | None],
    rounds: int = 3,
    seconds: float = 0.2,
    threads: int = 1,
    progress: Progress = lambda _done, _total: None,
) -> list[ModelRow]:
    """Measure models in turns.

    Args:
        trained: name to network.
        untrained: name to network with random weights.
        errors: name to error in percent, where it is known.
        rounds: number of turns of each network.
        seconds: time of each network in one turn.
        threads: number of threads.
        progress: called after every turn.
    """
    networks = {**trained, **untrained}
    openers = {name: own_candidates(net)[0].opener(1, threads) for name, net in networks.items()}
    times = measure_in_turns(openers, rounds, seconds, progress)
    rows = []
    for name, net in networks.items():
        assert isinstance(net, nn.Module)  # a protocol cannot state this
        cost = network_cost(net)
        fp32, int8 = _file_sizes(net)
        median_ms, error = 1000 * times[name].median, errors.get(name)
        rows.append(ModelRow(name, name in trained, cost["parameters"], cost["macs"], fp32, int8, median_ms, error))
    return rows


def _file_sizes(net: nn.Module) -> tuple[float | None, float | None]:
    """Return the sizes of the ONNX files in fp32 and int8 in millions of bytes.

    Noise sets the ranges of int8, because only the size of the file is wanted.
    """
    if not has_onnx():
        return None, None
    from synergy.deploy.int8 import quantise
    from synergy.engines.onnx_graph import to_onnx

    model = CropModel(net)
    graph = to_onnx(model)
    crops = np.random.default_rng(0).integers(0, 256, (2, model.size, model.size, 3), dtype=np.uint8)
    logging.disable(logging.WARNING)  # onnxruntime advises another preparation of the graph
    try:
        quantised = quantise(graph, crops, 0)
    finally:
        logging.disable(logging.NOTSET)
    return len(graph) / 1e6, len(quantised) / 1e6


def plot_models(path: Path, rows: list[ModelRow], label: str) -> None:
    """Draw all models: milliseconds against error, and against millions of bytes in int8, as far as they are known."""
    from matplotlib.figure import Figure

    known = {"error": label, "int8_mb": "file in int8, MB", "macs": "million multiply-adds"}
    panels = {key: title for key, title in known.items() if any(asdict(row)[key] is not None for row in rows)}
    figure = Figure(figsize=(6 * len(panels), 5), layout="constrained")
    for axes, (key, title) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
        shown = [(row, asdict(row)[key]) for row in rows if asdict(row)[key] is not None]
        for is_trained, colour, name in ((True, "tab:blue", "trained"), (False, "tab:gray", "random weights")):
            points = [(row.median_ms, value) for row, value in shown if row.trained == is_trained]
            if points:
                axes.scatter(*zip(*points, strict=True), color=colour, label=name)
        axes.set(xlabel="median time of one face in ms", ylabel=title, xscale="log")
        if key == "macs":
            axes.set_yscale("log")
        axes.margins(x=0.2, y=0.1)
        axes.grid(alpha=0.3)
        axes.legend()
        _annotate(axes, [(row.name, row.median_ms, value) for row, value in shown])
    figure.savefig(path, dpi=110)


def _annotate(axes: Axes, points: list[tuple[str, float, float]]) -> None:
    """Write a name next to each point, where it covers no other name and no border if there is such a place."""
    from matplotlib.transforms import Bbox

    figure = axes.figure
    figure.draw_without_rendering()  # type: ignore[union-attr]  # fixes the places of the points
    covered = [axes.get_legend().get_window_extent()]  # type: ignore[union-attr]
    for x, y in axes.transData.transform([(x, y) for _, x, y in points]):
        covered.append(Bbox.from_bounds(x - 4, y - 4, 8, 8))
    for name, x, y in points:
        for dx, dy, side in _PLACES:
            text = axes.annotate(
                name, (x, y), xytext=(dx, dy), textcoords="offset points", fontsize=8, ha=side, va="center"
            )
            box = text.get_window_extent()
            inside = axes.bbox.x0 <= box.x0 and box.x1 <= axes.bbox.x1
            if (inside and not any(box.overlaps(other) for other in covered)) or (dx, dy, side) == _PLACES[-1]:
                covered.append(box)
                break
            text.remove()


# Offsets in points, and the side of the name that lies there, in the order of preference.
_PLACES = (
    (6, 0, "left"), (-6, 0, "right"), (6, 9, "left"), (-6, 9, "right"), (6, -9, "left"), (-6, -9, "right"),
    (0, 14, "center"), (0, -14, "center"), (6, 18, "left"), (-6, 18, "right"), (6, -18, "left"), (-6, -18, "right"),
)  # fmt: skip
