"""Speed and size of a predictor on this machine, stage by stage."""

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
from synergy.models.cost import macs, parameters
from synergy.models.synergynet import SynergyNet
from synergy.predictor import FacePredictor, Network


class Figure(NamedTuple):
    """One measured number."""

    name: str
    value: float
    unit: str


def measure(net: Network, repeats: int) -> list[Figure]:
    """Counts, the median latency of each stage, throughput in batches of 64, and the process's peak memory."""
    image = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    box = np.array([240.0, 160.0, 400.0, 320.0])
    affine = square_crop(box, net.size)
    crops = np.repeat(warp(image, affine, net.size)[None], 64, 0)
    predictor = FacePredictor(net)
    detector = CenterFace()
    batch_ms = _median_ms(lambda: predictor.predict_crops(crops), max(3, repeats // 10))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    assert isinstance(net, nn.Module)  # the protocol cannot say so
    # Prediction never runs SynergyNet's second branch.
    unused = parameters(net.landmark_to_3dmm) if isinstance(net, SynergyNet) else 0
    return [
        Figure("parameters", (parameters(net) - unused) / 1e6, "M"),
        Figure("multiply-adds", macs(net, torch.zeros(1, 3, net.size, net.size)) / 1e6, "M"),
        Figure("detect 640x480", _median_ms(lambda: detector(image), repeats), "ms"),
        Figure("crop", _median_ms(lambda: warp(image, affine, net.size), repeats), "ms"),
        Figure("network, one crop", _median_ms(lambda: predictor.predict_crops(crops[:1]), repeats), "ms"),
        Figure("box to face", _median_ms(lambda: predictor(image, boxes=[box]), repeats), "ms"),
        Figure("network, crops per second at 64", 64 / batch_ms * 1000, "1/s"),
        Figure("peak memory", peak / 2**20, "MiB"),
    ]


def _median_ms(call: Callable[[], object], repeats: int) -> float:
    """Median wall time of a call in milliseconds, after three to warm up."""
    times = []
    for i in range(repeats + 3):
        start = time.perf_counter()
        call()
        if i >= 3:
            times.append(time.perf_counter() - start)
    return statistics.median(times) * 1000
