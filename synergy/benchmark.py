"""Measure the speed and the size of a predictor on this machine, stage by stage."""

from __future__ import annotations

import resource
import statistics
import sys
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from synergy.crop import square_crop, warp
from synergy.detect import CenterFace
from synergy.models.cost import count_macs, count_weights
from synergy.models.synergynet import SynergyNet
from synergy.predictor import FacePredictor, Network


class Measurement(NamedTuple):
    """One measured number.

    Attributes:
        name: what was measured.
        value: the number.
        unit: its unit.
    """

    name: str
    value: float
    unit: str


def measure(net: Network, repeats: int) -> list[Measurement]:
    """Measure size, latency of each stage, throughput and memory.

    The image is random noise of 640x480 pixels, and the box that is cropped from it has a side of 160 pixels.

    Args:
        net: the network, on the CPU.
        repeats: number of timed calls per stage. The median is reported.

    Returns:
        Numbers of weights (in millions) and multiply-adds (in millions) for one crop, median latencies in
        milliseconds, throughput in crops per second with batches of 64, and peak memory of the process in MiB.
    """
    image = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    box = np.array([240.0, 160.0, 400.0, 320.0])
    affine = square_crop(box, net.size)
    crops = np.repeat(warp(image, affine, net.size)[None], 64, 0)
    predictor = FacePredictor(net)
    detector = CenterFace()
    batch_ms = _median_ms(lambda: predictor.predict_crops(crops), max(3, repeats // 10))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    assert isinstance(net, nn.Module)  # a protocol cannot state this
    # Prediction never runs SynergyNet's second branch.
    unused = count_weights(net.landmark_to_3dmm) if isinstance(net, SynergyNet) else 0
    return [
        Measurement("parameters", (count_weights(net) - unused) / 1e6, "M"),
        Measurement("multiply-adds", count_macs(net, torch.zeros(1, 3, net.size, net.size)) / 1e6, "M"),
        Measurement("detect 640x480", _median_ms(lambda: detector(image), repeats), "ms"),
        Measurement("crop", _median_ms(lambda: warp(image, affine, net.size), repeats), "ms"),
        Measurement("network, one crop", _median_ms(lambda: predictor.predict_crops(crops[:1]), repeats), "ms"),
        Measurement("box to face", _median_ms(lambda: predictor(image, boxes=[box]), repeats), "ms"),
        Measurement("network, crops per second at 64", 64 / batch_ms * 1000, "1/s"),
        Measurement("peak memory", peak / 2**20, "MiB"),
    ]


def _median_ms(call: Callable[[], object], repeats: int) -> float:
    """Return the median wall time of a call in milliseconds, after three calls to warm up."""
    times = []
    for i in range(repeats + 3):
        start = time.perf_counter()
        call()
        if i >= 3:
            times.append(time.perf_counter() - start)
    return statistics.median(times) * 1000
