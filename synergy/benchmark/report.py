"""The benchmark as a whole: what is measured, and the results as a dictionary for JSON."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from itertools import product
from pathlib import Path
from typing import Any

import cv2
import torch

from synergy.benchmark.cost import network_cost
from synergy.benchmark.folder import measure_folder
from synergy.benchmark.installed import FACE_ALIGNMENT, MEDIAPIPE, face_alignment_candidates, mediapipe_opener
from synergy.benchmark.networks import (
    FP32,
    INT8,
    SYNERGYNET,
    TDDFA_V2,
    TDDFA_V2_SMALL,
    Candidate,
    exported_candidate,
    own_candidates,
    peer_candidates,
)
from synergy.benchmark.photo import TOTAL, make_photo, measure_stages, overhead
from synergy.benchmark.timing import Opener, Timing, linear_growth, measure_in_turns, ratio
from synergy.detect import CenterFace
from synergy.engines import Network
from synergy.errors import UserError
from synergy.images import read_image
from synergy.predictor import FacePredictor

# Called with the name of a part of the benchmark, and the numbers of finished and of all steps of this part.
PartProgress = Callable[[str, int, int], None]

_PACKAGES = ("torch", "onnxruntime", "opencv-python", "numpy", "face-alignment", "mediapipe")


@dataclass(frozen=True)
class Settings:
    """What is measured, and how long.

    Attributes:
        threads: numbers of threads.
        batches: batch sizes of the networks; 1 is always measured.
        rounds: number of turns of each network.
        seconds: time of each network in a round.
        repeats: number of timed photos.
        images: numbers of photos in the folders, growing.
        min_face: smallest face in pixels that the detector looks for in photos (`synergy.detect.CenterFace`).
    """

    threads: tuple[int, ...] = (1, 2)
    batches: tuple[int, ...] = (1, 8, 64)
    rounds: int = 5
    seconds: float = 0.3
    repeats: int = 40
    images: tuple[int, ...] = (100, 1000)
    min_face: float | None = None


@dataclass(frozen=True)
class Target:
    """A ratio of times that is aimed at.

    Attributes:
        description: of the ratio.
        of: network and engine in the numerator.
        to: network and engine in the denominator.
        at_most: the largest ratio that reaches the target.
    """

    description: str
    of: tuple[str, str]
    to: tuple[str, str]
    at_most: float


def targets(networks: Sequence[str]) -> list[Target]:
    """Return the targets for this project's networks, the main one first and a small one last.

    Args:
        networks: their `model_id`.
    """
    main = networks[0]
    found = [
        Target(f"{main} / bare MobileNetV2 with heads", (main, FP32), (SYNERGYNET, FP32), 1.3),
        Target(f"{main} / MobileNet-V1 x1.0 of 3DDFA-V2", (main, FP32), (TDDFA_V2, FP32), 1 / 1.8),
        Target(f"{main}: int8 / fp32", (main, INT8), (main, FP32), 1 / 1.5),
    ]
    if len(networks) > 1:
        small = networks[-1]
        found.append(Target(f"{small} / MobileNet-V1 x0.5 of 3DDFA-V2", (small, FP32), (TDDFA_V2_SMALL, FP32), 1.0))
    return found


def measure(
    models: Mapping[str, Network],
    settings: Settings,
    progress: PartProgress,
    int8: Path | None = None,
    mediapipe: Path | None = None,
    bfm: Path | None = None,
) -> dict[str, Any]:
    """Run the benchmark.

    Args:
        models: what `--model` calls them, and the networks. The first is measured in whole photos too.
        settings: what is measured.
        progress: called after each step.
        int8: the first network as an ONNX file with int8 weights.
        mediapipe: the model of MediaPipe's FaceLandmarker, which is then measured on the photo.
        bfm: the Basel Face Model with which the first network was opened, for the folders.

    Returns:
        The results, ready for JSON: `machine`, `sizes`, `networks`, `ratios`, `photo` and `folders`.

    Raises:
        UserError: two networks have the same name, or a file or MediaPipe cannot be used.
    """
    own = list(models.values())
    names = [net.model_id for net in own]
    if len(set(names)) < len(names):
        raise UserError(f"two networks have the same name: {', '.join(names)}")
    peer = None if mediapipe is None else mediapipe_opener(mediapipe)
    candidates = [candidate for net in own for candidate in own_candidates(net)]
    candidates += [peer for peer in peer_candidates() if peer.network not in names] + face_alignment_candidates()
    if int8 is not None:
        candidates.insert(1, exported_candidate(own[0], int8))
    timings: dict[tuple[int, int], dict[tuple[str, str], Timing]] = {}
    for threads in settings.threads:
        for batch in sorted({1, *settings.batches}):
            measured = [c for c in candidates if c.largest_batch is None or batch <= c.largest_batch]
            timings[threads, batch] = _measure_networks(measured, threads, batch, settings, progress)
    spec = next(iter(models))
    photos = [_photo_row(own[0], threads, settings, progress, peer) for threads in settings.threads]
    return {
        "machine": describe_machine(),
        "settings": vars(settings),
        "sizes": {net.model_id: _size(net) for net in own},
        "networks": [
            _network_row(key, threads, batch, timing)
            for (threads, batch), group in timings.items()
            for key, timing in group.items()
        ],
        "ratios": _ratios(names, timings) + [row for _, rows in photos for row in rows],
        "photo": [row for row, _ in photos],
        "folders": _folders(spec, bfm, settings, progress),
    }


def describe_machine() -> dict[str, Any]:
    """Describe processor, number of cores, system and versions."""
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "system": platform.system(),
        "python": platform.python_version(),
        "packages": found,
    }


def _processor() -> str:
    """Return the name of the processor."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _measure_networks(
    candidates: Sequence[Candidate], threads: int, batch: int, settings: Settings, progress: PartProgress
) -> dict[tuple[str, str], Timing]:
    """Time all networks for one batch size and number of threads."""
    openers = {f"{c.network}\n{c.engine}": c.opener(batch, threads) for c in candidates}
    before = torch.get_num_threads()
    try:
        measured = measure_in_turns(
            openers,
            settings.rounds,
            settings.seconds,
            lambda done, total: progress(f"networks, batch {batch}, {threads} threads", done, total),
        )
    finally:
        torch.set_num_threads(before)
    return {(c.network, c.engine): measured[f"{c.network}\n{c.engine}"] for c in candidates}


def _size(net: Network) -> dict[str, float]:
    """Return the number of weights and of multiply-adds of a prediction, in millions."""
    cost = network_cost(net)
    return {"weights_million": cost["parameters"], "multiply_adds_million": cost["macs"]}


def _network_row(key: tuple[str, str], threads: int, batch: int, timing: Timing) -> dict[str, Any]:
    """Return the figures of one network."""
    return {
        "network": key[0],
        "engine": key[1],
        "threads": threads,
        "batch": batch,
        "median_ms": timing.median * 1000,
        "p95_ms": timing.p95 * 1000,
        "cpu_ms": timing.cpu_median * 1000,
        "ms_per_face": timing.median * 1000 / batch,
        "faces_per_second": batch / timing.median,
    }


def _ratios(
    names: Sequence[str], timings: Mapping[tuple[int, int], Mapping[tuple[str, str], Timing]]
) -> list[dict[str, Any]]:
    """Return all ratios of networks, for every number of threads.

    These are `targets` at batch 1, the largest batch next to batch 1, and face-alignment next to the main network.

    Args:
        names: `model_id` of this project's networks, the main one first.
        timings: number of threads and batch size to network and engine to times.
    """
    rows = [
        _ratio_row(target.description, threads, group[target.of], group[target.to], target.at_most)
        for (threads, batch), group in timings.items()
        for target in targets(names)
        if batch == 1 and target.of in group and target.to in group
    ]
    for threads, largest in {threads: max(b for t, b in timings if t == threads) for threads, _ in timings}.items():
        one, many = timings[threads, 1], timings[threads, largest]
        for key in one:
            if largest > 1 and key[0] in names:
                description = f"{key[0]}, {key[1]}: per face at batch {largest} / batch 1"
                rows.append(_ratio_row(description, threads, many[key], one[key], 1.0, largest))
        for peer, engine in product(FACE_ALIGNMENT, (FP32, "torch")):
            if (peer, "torch") in one and (names[0], engine) in one:
                description = f"{peer} in torch / {names[0]} in {engine}"
                rows.append(_ratio_row(description, threads, one[peer, "torch"], one[names[0], engine]))
    return rows


def _ratio_row(
    description: str, threads: int, of: Timing, to: Timing, at_most: float | None = None, faces: int = 1
) -> dict[str, Any]:
    """Return one ratio of wall times and of CPU times, with its target.

    Args:
        description: of the ratio.
        threads: number of threads.
        of: the numerator.
        to: the denominator.
        at_most: the largest ratio of wall times that reaches the target, None without a target.
        faces: number of faces of the numerator for each face of the denominator.
    """
    wall, cpu = (vars(ratio(*pair)) for pair in ((of.rounds, to.rounds), (of.cpu_rounds, to.cpu_rounds)))
    found = {name: value / faces for name, value in wall.items()}
    found |= {f"cpu_{name}": value / faces for name, value in cpu.items()}
    reached = None if at_most is None else found["median"] <= at_most
    return {"ratio": description, "threads": threads, **found, "target_at_most": at_most, "reached": reached}


def _photo_row(
    net: Network, threads: int, settings: Settings, progress: PartProgress, peer: Opener | None
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Time the stages of a photo with some threads, and MediaPipe in turns with this project.

    Args:
        net: the network.
        threads: number of threads. MediaPipe chooses its own.
        settings: what is measured.
        progress: called after each step.
        peer: opens MediaPipe, None without it.

    Returns:
        The figures of the photo, and rows of ratios.
    """
    label = f"photo, {threads} threads"
    progress(label, 0, 1)
    photo = make_photo()
    image = read_image(photo)

    def open_predictor() -> FacePredictor:
        return FacePredictor(net, CenterFace(min_face=settings.min_face, threads=threads), threads=threads)

    in_turns: dict[str, Timing] = {}
    before = torch.get_num_threads(), cv2.getNumThreads()
    try:
        torch.set_num_threads(threads)
        cv2.setNumThreads(threads)
        stages = measure_stages(open_predictor(), photo, settings.repeats)
        if peer is not None:
            openers: dict[str, Opener] = {net.model_id: lambda: partial(open_predictor(), image), MEDIAPIPE: peer}
            in_turns = measure_in_turns(
                openers,
                settings.rounds,
                settings.seconds,
                lambda done, total: progress(f"MediaPipe, {threads} threads", done, total),
            )
    finally:
        torch.set_num_threads(before[0])
        cv2.setNumThreads(before[1])
    progress(label, 1, 1)
    rows = {name: _milliseconds(one) for name, one in stages.items()}
    total = rows.pop(TOTAL)
    figures = {"threads": threads, "stages": rows, "to_landmarks": total, "outside_networks": overhead(stages)}
    if not in_turns:
        return figures, []
    figures["in_turns"] = {name: _milliseconds(one) for name, one in in_turns.items()}
    description = f"{MEDIAPIPE} / {net.model_id}: photo in memory to landmarks"
    return figures, [_ratio_row(description, threads, in_turns[MEDIAPIPE], in_turns[net.model_id])]


def _milliseconds(timing: Timing) -> dict[str, float]:
    """Return the figures of a stage of the photo."""
    return {"median_ms": timing.median * 1000, "p95_ms": timing.p95 * 1000, "cpu_ms": timing.cpu_median * 1000}


def _folders(spec: str, bfm: Path | None, settings: Settings, progress: PartProgress) -> dict[str, Any]:
    """Predict folders of photos, and compare the largest with the smallest."""
    runs = []
    options = {"--min-face": settings.min_face, "--bfm": bfm}
    arguments = tuple(part for name, value in options.items() if value is not None for part in (name, str(value)))
    for i, count in enumerate(settings.images):
        progress("folders", i, len(settings.images))
        runs.append(measure_folder(count, spec, arguments))
    progress("folders", len(settings.images), len(settings.images))
    rows = [vars(run) | {"images_per_second": run.per_second} for run in runs]
    if len(runs) < 2:
        return {"runs": rows}
    counts = [run.images for run in runs]
    return {
        "runs": rows,
        "time_over_linear": linear_growth(counts, [run.seconds for run in runs]),
        "memory_growth": runs[-1].peak_mib / runs[0].peak_mib,
    }


def read_error(path: Path, key: str) -> tuple[str, float]:
    """Read the name of a network and its error from the JSON that `synergy eval --json` wrote.

    Args:
        path: the file.
        key: dotted key of the error, for example `nme2d.visible68.mean`.

    Raises:
        UserError: the file is not such a JSON, or it has no such key.
    """
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
        name = str(content["model_id"])
        for part in key.split("."):
            content = content[part]
        return name, float(content)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{path}: not a file of synergy eval --json with the score '{key}'") from None


def plot_errors(path: Path, results: Mapping[str, Any], errors: Mapping[str, float], label: str) -> None:
    """Draw error against milliseconds at batch 1, one point for each network and engine.

    Args:
        path: picture to write.
        results: what `measure` returned.
        errors: network to error in percent. Networks without an error are left out.
        label: what the errors are.
    """
    from matplotlib.figure import Figure

    threads = max(row["threads"] for row in results["networks"])
    rows = [r for r in results["networks"] if r["batch"] == 1 and r["threads"] == threads and r["network"] in errors]
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    for engine in sorted({row["engine"] for row in rows}):
        points = [(row["median_ms"], errors[row["network"]], row["network"]) for row in rows if row["engine"] == engine]
        axes.scatter([p[0] for p in points], [p[1] for p in points], label=engine)
        for x, y, name in points:
            axes.annotate(name, (x, y), xytext=(4, 4), textcoords="offset points", fontsize=8)
    axes.set(xlabel=f"median time of one face in ms, {threads} threads", ylabel=label, xlim=(0, None))
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=130)
