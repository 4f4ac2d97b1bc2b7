"""The training pack: one directory of plain arrays that a training run memory-maps.

    manifest.json     version, counts, sources, licences, model, provenance, and a SHA-256 per array file
    images.bin        JPEG (or PNG) files end to end
    offsets.npy       (N + 1,) int64: image i is bytes offsets[i]:offsets[i + 1] of images.bin
    names.npy         (N,) unicode: the image's name in its data set; a generated view adds "#yaw+45" or "#mirror"
    sources.npy       (N,) unicode: data set
    split.npy         (N,) unicode: "train" or "val"
    landmarks68.npy   (N, 68, 3) float32: the label. Pixels of the 120x120 image, centres at integers, y down; z in the
                      same scale, larger is nearer, zero mean per face
    visibility68.npy  (N, 68) int8: 2 visible, 1 covered by something, 0 turned away, -1 not labelled
    params.npy        (N, 12 + S + E) float32: pose `[s R | t]` in crop pixels (x = V_x, y = 120 - V_y), then raw shape and
                      expression coefficients of the model in the manifest
    pose_deg.npy      (N, 3) float32: pitch, yaw, roll (see `synergy.geometry`)
    weight.npy        (N,) float32: trust in the label, 0 to 1
    residual.npy      (N,) float32: mean distance of hand labels to the fit, % of face size, after offsets; NaN: no hand labels
    hand68.npy        (N, 68, 2) float32: hand labels, crop pixels, NaN where unknown
    points21.npy      (N, 21, 2) float32: AFLW's 21 points, crop pixels, NaN where unknown
    crop.npy          (N, 3) float64: left, top (of the first pixel's centre) and scale, image -> crop pixels:
                      u = (x - left) * scale

The crop is the square of side sqrt(2) * max(w, h) about the label's 2D box, centred on it:
u = (x - centre) * 120 / side + 59.5.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

CROP_SIZE = 120


@dataclass(frozen=True)
class Pack:
    """An opened pack; every array is memory-mapped and read-only."""

    path: Path
    manifest: dict[str, Any]
    arrays: dict[str, NDArray[Any]]

    @classmethod
    def open(cls, path: str | Path) -> Pack:
        """Open the pack directory `path`."""
        path = Path(path)
        manifest = json.loads((path / "manifest.json").read_text())
        arrays = {name: np.load(path / f"{name}.npy", mmap_mode="r") for name in manifest["arrays"]}
        arrays["images"] = np.memmap(path / "images.bin", np.uint8, "r")
        return cls(path, manifest, arrays)

    def __len__(self) -> int:
        return len(self.arrays["offsets"]) - 1

    def __getattr__(self, name: str) -> NDArray[Any]:
        try:
            return self.__dict__["arrays"][name]  # type: ignore[no-any-return]
        except KeyError:
            raise AttributeError(f"pack has no array '{name}'") from None

    def encoded(self, index: int) -> NDArray[np.uint8]:
        """The bytes of image `index`."""
        start, end = self.arrays["offsets"][index : index + 2]
        return np.asarray(self.arrays["images"][start:end])

    def image(self, index: int) -> NDArray[np.uint8]:
        """Image `index`, (120, 120, 3) uint8 RGB."""
        decoded = cv2.imdecode(self.encoded(index), cv2.IMREAD_COLOR)
        return cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB)  # type: ignore[return-value]

    def images(self) -> NDArray[np.uint8]:
        """All images, (N, 120, 120, 3) uint8 RGB."""
        out = np.empty((len(self), CROP_SIZE, CROP_SIZE, 3), np.uint8)
        for index in range(len(self)):
            out[index] = self.image(index)
        return out
