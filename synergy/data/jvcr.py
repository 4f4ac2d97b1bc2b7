"""JVCR's annotations: images and a JSON list of faces (Zhang et al., IEEE TIP 2019).

An entry has `img_paths`, `landmarks` (68 x 3), `objpos` (centre of the landmarks' box), `scale_provided` (width of
that box / 200) and `isValidation`. The annotations were made from 300W-LP and AFLW2000-3D, so x and y count pixels from
1, as MATLAB does, and larger z is nearer, as in `pt3d_68`. `objpos` and `scale_provided` follow from the landmarks and
are not read: samples of this reader are cropped by the box of their landmarks, like those of AFLW2000-3D.

JVCR's data loader negates z, because its volumes number their planes away from the camera, and its demo negates the
predicted z again before it compares it with `pt3d_68`. Here z keeps the sign of the file and only its mean is removed.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from synergy.data.reader import FaceReader, SampleError, checked_points
from synergy.data.sample import FaceSample
from synergy.data.w300lp_format import MATLAB_ORIGIN
from synergy.errors import UserError


class JVCRReader(FaceReader):
    """Read JVCR's annotations. Landmarks are (68, 3), and z has zero mean.

    Args:
        path: the annotation file `.json`.
        images: folder, tar or zip that `img_paths` are relative to. By default it is the folder of the annotation file.
    """

    source = "jvcr"
    licence = "that of the annotated images"

    def __init__(self, path: str | Path, images: str | Path | None = None) -> None:
        self._json = Path(path)
        try:
            content = self._json.read_bytes()
            self._entries = json.loads(content)
        except (OSError, ValueError, RecursionError) as error:
            raise UserError(f"{path}: cannot be read as JSON ({error})") from None
        self._digest = hashlib.sha256(content).hexdigest()[:16]
        if not isinstance(self._entries, list):
            raise UserError(f"{path}: expected a list of annotated faces, found {type(self._entries).__name__}")
        super().__init__(images if images is not None else self._json.parent)

    def _find(self) -> list[str]:
        self._by_name: dict[str, dict[str, Any]] = {}
        for number, entry in enumerate(self._entries):
            if not isinstance(entry, dict) or not isinstance(entry.get("img_paths"), str):
                self.skip(f"entry {number}", "it has no img_paths")
                continue
            name = str(PurePosixPath(entry["img_paths"]))
            self._by_name[name if name not in self._by_name else f"{name}#{number}"] = entry
        return list(self._by_name)

    @property
    def validation_names(self) -> frozenset[str]:
        """The names of the samples whose entries have `isValidation`."""
        return frozenset(name for name in self.names if self._by_name[name].get("isValidation"))

    def _wanted(self) -> str:
        return "entries with img_paths and landmarks"

    def digest(self) -> str:
        """Return the first 16 hex digits of the SHA-256 of the annotation file."""
        return self._digest

    def _read(self, name: str, image: bool) -> FaceSample:
        entry = self._by_name[name]
        if "landmarks" not in entry:
            raise SampleError("its annotation lacks landmarks")
        try:
            landmarks = checked_points(entry["landmarks"], 68, 3, "landmarks")
        except (TypeError, OverflowError):
            raise SampleError("its landmarks hold something that is not a number") from None
        landmarks -= np.array([MATLAB_ORIGIN, MATLAB_ORIGIN, landmarks[:, 2].mean()], np.float32)
        pixels = self._image(str(PurePosixPath(entry["img_paths"])), image)
        return self._sample(name, pixels, landmarks)
