"""This project's AFLW pack: a tar, zip or folder of 120x120 crops, and an `.npz` of the same name with the labels.

Row i of each array belongs to `names[i]`: points21 (21, 2) and points68 (68, 2) in 0-based crop pixels, hand labelled,
NaN where not seen, visibility68 (68,), and yaw_abs_deg. The 21 are AFLW's own (Koestinger et al., ICCV-W 2011), the 68
MERL-RAV's, where it has the image (Kumar et al., CVPR 2020).
"""

from __future__ import annotations

import hashlib
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bfm_assets.safe_files import ModelFileError, read_arrays
from synergy.data.reader import CROP_SIZE, IMAGE_SUFFIXES, FaceReader, box_of_crop
from synergy.data.sample import FaceSample
from synergy.errors import UserError

_ARRAYS: dict[str, tuple[int, ...]] = {
    "points21": (21, 2),
    "points68": (68, 2),
    "visibility68": (68,),
    "yaw_abs_deg": (),
}


class AFLWReader(FaceReader):
    """The pack's samples. `box` is the one whose sqrt(2) square is the whole crop.

    AFLW states only the size of the yaw: `pose_deg` is (NaN, |yaw|, NaN). `labels` is the `.npz`; without it, the one
    beside the archive, or in the folder.
    """

    source = "aflw"
    licence = "AFLW: non-commercial research only; MERL-RAV labels: AGPL-3.0, research"
    is_cropped = True

    def __init__(self, path: str | Path, labels: str | Path | None = None) -> None:
        self._labels_path = Path(labels) if labels else _labels_beside(Path(path))
        super().__init__(path)

    def _find(self) -> list[str]:
        self._arrays = _read_labels(self._labels_path)
        images = {PurePosixPath(name).name: name for name in self.tree.with_suffix(*IMAGE_SUFFIXES)}
        self._rows = {images[name]: row for row, name in enumerate(self._arrays["names"].tolist()) if name in images}
        for name in self._arrays["names"].tolist():
            if self._rows and name not in images:
                self.skip(name, f"labelled in {self._labels_path.name}, but there is no such image")
        return list(self._rows)

    def digest(self) -> str:
        """Return the first 16 hex digits of a SHA-256 over the label file."""
        return hashlib.sha256(self._labels_path.read_bytes()).hexdigest()[:16]

    def _wanted(self) -> str:
        return f"the images that {self._labels_path.name} names"

    def _read(self, name: str, image: bool) -> FaceSample:
        row = self._rows[name]
        pixels = self._image(name, image)
        return FaceSample(
            name=name,
            image=pixels,
            landmarks68=self._arrays["points68"][row].astype(np.float32),
            visibility68=self._arrays["visibility68"][row].astype(np.int8),
            points21=self._arrays["points21"][row].astype(np.float32),
            pose_deg=np.array([np.nan, self._arrays["yaw_abs_deg"][row], np.nan], np.float32),
            box=box_of_crop(*(pixels.shape[:2] if image else (CROP_SIZE, CROP_SIZE))),
            source=self.source,
            licence=self.licence,
        )


def _labels_beside(path: Path) -> Path:
    if not path.is_dir():
        return path.with_suffix(".npz")
    found = sorted(path.glob("*.npz"))
    if len(found) != 1:
        raise UserError(f"{path}: expected one .npz with the labels of the AFLW pack in it, found {len(found)}")
    return found[0]


def _read_labels(path: Path) -> dict[str, NDArray[Any]]:
    try:
        arrays = read_arrays(path, ("names", *_ARRAYS), "label file of the AFLW pack")
    except ModelFileError as error:
        raise UserError(str(error)) from None
    rows = len(arrays["names"])
    for key, shape in _ARRAYS.items():
        if arrays[key].shape != (rows, *shape):
            raise UserError(f"{path}: {key} is {arrays[key].shape}, expected {(rows, *shape)}")
    return arrays
