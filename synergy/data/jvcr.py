"""JVCR's annotations: a JSON list of faces, and images (Zhang et al., "Joint Voxel and Coordinate Regression", 2018).

An entry has `img_paths`, `landmarks` (68 x 3), `objpos` (box centre), `scale_provided` (box width / 200) and
`isValidation`. x and y are taken as they stand; z is negated and its mean removed, as JVCR's loader does.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from synergy.data.reader import FaceReader, SampleError, checked_points, visibility_of
from synergy.data.sample import FaceSample
from synergy.errors import UserError

BOX_UNIT = 200.0  # box width = 200 * scale_provided


class JVCRReader(FaceReader):
    """The annotated faces with (68, 3) landmarks; `box` is the square of the stated width around the stated centre.

    Args:
        path: the annotation `.json`.
        images: folder, tar or zip that `img_paths` are relative to; the annotation's own folder by default.
        validation: read only the entries with this `isValidation`; all by default.
    """

    source = "jvcr"
    licence = "that of the annotated images"

    def __init__(self, path: str | Path, images: str | Path | None = None, validation: bool | None = None) -> None:
        self._json, self._validation = Path(path), validation
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
            if self._validation is not None and bool(entry.get("isValidation")) is not self._validation:
                continue
            name = str(PurePosixPath(entry["img_paths"]))
            self._by_name[name if name not in self._by_name else f"{name}#{number}"] = entry
        return list(self._by_name)

    def _wanted(self) -> str:
        return "entries with img_paths, landmarks, objpos and scale_provided"

    def digest(self) -> str:
        return self._digest

    def _read(self, name: str, image: bool) -> FaceSample:
        entry = self._by_name[name]
        if missing := [key for key in ("landmarks", "objpos", "scale_provided") if key not in entry]:
            raise SampleError(f"its annotation lacks {', '.join(missing)}")
        try:
            landmarks = checked_points(entry["landmarks"], 68, (3,), "landmarks")
            centre = checked_points([entry["objpos"]], 1, (2,), "objpos")[0]
            half = float(entry["scale_provided"]) * BOX_UNIT / 2
        except TypeError:
            raise SampleError("its annotation holds something that is not a number") from None
        landmarks[:, 2] = landmarks[:, 2].mean() - landmarks[:, 2]
        return FaceSample(
            name=name,
            image=self._image(str(PurePosixPath(entry["img_paths"])), image),
            landmarks68=landmarks,
            visibility68=visibility_of(landmarks),
            box=np.concatenate([centre - half, centre + half]).astype(np.float32),
            source=self.source,
            licence=self.licence,
        )
