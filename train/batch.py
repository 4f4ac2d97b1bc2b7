"""The typed batch that loading, augmentation, losses and validation share."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor


@dataclass
class Batch:
    """B face crops and what is known of them; NaN (or visibility -1) where a label is unknown.

    Attributes:
        image: (B, 3, H, W) RGB in 0..255, uint8 as stored, float once augmented. H and W may differ from the crop side
            that the labels refer to: the image is then a resampling of the same crop.
        landmarks: (B, 68, 3) in pixels of the side x side crop; z in the same scale, larger is nearer.
        visibility: (B, 68) int8 of synergy.data.sample.
        params: (B, 12 + S + E) pose `[s R | t]` in crop pixels, raw shape and expression coefficients.
        weight: (B,) of the sample in every loss.
        hand: (B, 68, 2) hand-labelled visible points in crop pixels, for validation.
        yaw: (B,) degrees, for validation's bins.
    """

    image: Tensor
    landmarks: Tensor
    visibility: Tensor
    params: Tensor
    weight: Tensor
    hand: Tensor
    yaw: Tensor

    def __len__(self) -> int:
        return len(self.image)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Batch:
        """The same batch on a device (what Lightning calls)."""
        return Batch(*(getattr(self, f.name).to(device, non_blocking=non_blocking) for f in fields(self)))
