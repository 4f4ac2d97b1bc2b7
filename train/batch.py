"""The batch that data loading, augmentation, losses and validation share."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor


@dataclass
class Batch:
    """B face crops and their labels. Unknown labels are NaN; an unknown visibility is -1.

    Attributes:
        image: (B, 3, H, W) RGB in 0..255, uint8 as stored, float after augmentation. H and W may differ from the side
            of the crop that the labels refer to; the image is then the same crop at another resolution.
        landmarks: (B, 68, 3) in pixels of the crop, centres at integers, y down; z in the same scale, larger is nearer.
        visibility: (B, 68) int8, values of `synergy.data.sample`.
        params: (B, 12 + S + E) parameters in crop pixels (`synergy.parameters`).
        weight: (B,) weight of the sample in every loss.
        annotated68: (B, 68, 2) manual annotations of visible points in crop pixels, for validation.
        yaw: (B,) in degrees, for the yaw bins of validation.
    """

    image: Tensor
    landmarks: Tensor
    visibility: Tensor
    params: Tensor
    weight: Tensor
    annotated68: Tensor
    yaw: Tensor

    def __len__(self) -> int:
        return len(self.image)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Batch:
        """Return the batch on a device. Lightning calls this."""
        return Batch(*(getattr(self, f.name).to(device, non_blocking=non_blocking) for f in fields(self)))
