"""The engine that runs a network in torch, on any device."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from synergy.engines.crop_model import CropModel, CropPredictions


class TorchEngine:
    """Run a network in torch.

    Args:
        model: the network with what comes before and after it.
        device: a device of torch.
        threads: number of threads of torch, for the whole process; None leaves it as it is.
    """

    name = "torch"

    def __init__(self, model: CropModel, device: str = "cpu", threads: int | None = None) -> None:
        if threads is not None:
            torch.set_num_threads(threads)
        self.model = model.to(device).eval()
        self.device = device

    @torch.inference_mode()
    def __call__(self, crops: NDArray[np.uint8]) -> CropPredictions[NDArray[np.float32]]:
        """Predict crops (B, size, size, 3), uint8 RGB."""
        tensors = self.model(torch.from_numpy(np.ascontiguousarray(crops)).to(self.device))
        arrays = (tensor.float().cpu().numpy() for tensor in tensors)
        return CropPredictions(**dict(zip(self.model.outputs, arrays, strict=True)))
