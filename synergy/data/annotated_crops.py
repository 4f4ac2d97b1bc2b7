"""Face crops with annotations in one `.npz`: our files of AFLW, CFP, WFLW and SCUT-FBP5500.

The images lie in a tar, zip or folder, the annotations in an `.npz` next to it. Row i of each array belongs to the
image `names[i]`, which is matched by its last component:

    points68 (N, 68, 2)    0-based pixels of the stored crop, NaN where unknown
    visibility68 (N, 68)   see `synergy.data.sample`
    points21 (N, 21, 2)    AFLW's own points, NaN where not visible (only AFLW)
    yaw_abs_deg (N,)       size of the yaw (only AFLW)
    identity (N,)          number of the person (only CFP)
    is_profile, attributes (N, 6), female, asian: see `ATTRIBUTES`

All crops have one size. Their central 120x120 pixels are 3DDFA's crop.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bfm_assets.safe_files import ModelFileError, read_arrays
from synergy.data.reader import CROP_SIZE, DATASET_IMAGE_SUFFIXES, FaceReader, SampleError, box_of_crop
from synergy.data.sample import FaceSample
from synergy.errors import UserError

# Columns of `attributes` (WFLW) and the arrays of the other sets that become attributes of a sample.
_WFLW_ATTRIBUTES = ("pose", "expression", "illumination", "make_up", "occlusion", "blur")
_BOOLEAN_ATTRIBUTES = {"is_profile": "profile", "female": "female", "asian": "asian"}
ATTRIBUTES = (*_BOOLEAN_ATTRIBUTES.values(), *_WFLW_ATTRIBUTES)

_SHAPES: dict[str, tuple[int, ...]] = {
    "points68": (68, 2),
    "visibility68": (68,),
    "points21": (21, 2),
    "yaw_abs_deg": (),
    "identity": (),
    "attributes": (len(_WFLW_ATTRIBUTES),),
    **dict.fromkeys(_BOOLEAN_ATTRIBUTES, ()),
}
_REQUIRED = ("points68", "visibility68")


class _Source(NamedTuple):
    """A data set, recognised by an array that only it has."""

    array: str
    name: str
    licence: str


_SOURCES = (
    _Source("points21", "aflw", "AFLW: non-commercial research only; MERL-RAV annotations: AGPL-3.0, research"),
    _Source("is_profile", "cfp", "CFP: obtained without a licence statement, research use only"),
    _Source("attributes", "wflw", "WFLW: obtained without a licence statement, research use only"),
    _Source("asian", "scut-fbp5500", "SCUT-FBP5500: obtained without a licence statement, research use only"),
)


class AnnotatedCropsReader(FaceReader):
    """Read face crops with annotations. The `box` of a sample is the one whose square crop is 3DDFA's crop.

    Args:
        path: tar, zip or folder of the images.
        labels: the `.npz`; by default the one next to the archive, or in the folder.
        automatic: keep annotations that look like the output of an automatic fit. These are the points of CFP's frontal
            images: the lips have constant thickness and the corners of the eyes lie a little inside.

    Note:
        AFLW states only the size of the yaw: `pose_deg` is (NaN, |yaw|, NaN).
    """

    is_cropped = True

    def __init__(self, path: str | Path, labels: str | Path | None = None, automatic: bool = False) -> None:
        self._labels_path = Path(labels) if labels else _labels_of(Path(path))
        self._arrays = _read_labels(self._labels_path)
        source = next((s for s in _SOURCES if s.array in self._arrays), _Source("", "crops", "unknown"))
        self.source, self.licence = source.name, source.licence
        if "is_profile" in self._arrays and not automatic:
            frontal = ~self._arrays["is_profile"].astype(bool)
            self._arrays["points68"][frontal] = np.nan
            self._arrays["visibility68"][frontal] = -1
        super().__init__(path)

    def _find(self) -> list[str]:
        images = {PurePosixPath(name).name: name for name in self.tree.with_suffix(*DATASET_IMAGE_SUFFIXES)}
        labelled = [PurePosixPath(name).name for name in self._arrays["names"].tolist()]
        self._rows = {images[name]: row for row, name in enumerate(labelled) if name in images}
        for name in labelled:
            if self._rows and name not in images:
                self.skip(name, f"labelled in {self._labels_path.name}, but there is no such image")
        return list(self._rows)

    def digest(self) -> str:
        """Return the first 16 hex digits of the SHA-256 of the label file."""
        return hashlib.sha256(self._labels_path.read_bytes()).hexdigest()[:16]

    def _wanted(self) -> str:
        return f"the images that {self._labels_path.name} names"

    @cached_property
    def _box(self) -> NDArray[np.float32]:
        """Box of the central crop in the stored images, whose size is that of the first readable one."""
        for name in self.names:
            with suppress(ValueError, OSError):
                height, width = self._image(name, True).shape[:2]
                break
        else:
            raise SampleError("no image of the data set is readable")
        margin = np.array([width - CROP_SIZE, height - CROP_SIZE] * 2) / 2
        return (box_of_crop() + margin).astype(np.float32)

    def _read(self, name: str, image: bool) -> FaceSample:
        row = {key: array[self._rows[name]] for key, array in self._arrays.items()}
        points21, yaw = row.get("points21"), row.get("yaw_abs_deg")
        attributes = {attribute: int(row[key]) for key, attribute in _BOOLEAN_ATTRIBUTES.items() if key in row}
        if "attributes" in row:
            attributes |= dict(zip(_WFLW_ATTRIBUTES, row["attributes"].tolist(), strict=True))
        return FaceSample(
            name=name,
            image=self._image(name, image),
            landmarks68=row["points68"].astype(np.float32),
            visibility68=row["visibility68"].astype(np.int8),
            points21=None if points21 is None else points21.astype(np.float32),
            pose_deg=None if yaw is None else np.array([np.nan, yaw, np.nan], np.float32),
            box=self._box,
            identity=int(row.get("identity", -1)),
            attributes=attributes,
            source=self.source,
            licence=self.licence,
        )


def _labels_of(path: Path) -> Path:
    """Return the `.npz` that belongs to an archive or folder."""
    if not path.is_dir():
        return path.with_suffix(".npz")
    found = sorted(path.glob("*.npz"))
    if len(found) != 1:
        raise UserError(f"{path}: expected one .npz with the annotations in it, found {len(found)}")
    return found[0]


def _read_labels(path: Path) -> dict[str, NDArray[Any]]:
    """Read and check the arrays of `_SHAPES` and the names."""
    try:
        arrays = read_arrays(path, ("names", *_REQUIRED), "annotation file of face crops")
    except ModelFileError as error:
        raise UserError(str(error)) from None
    if arrays["names"].ndim != 1 or arrays["names"].dtype.kind != "U":
        raise UserError(f"{path}: names is {arrays['names'].dtype} {arrays['names'].shape}, expected a list of texts")
    rows = len(arrays["names"])
    for key, shape in _SHAPES.items():
        if key in arrays and arrays[key].shape != (rows, *shape):
            raise UserError(f"{path}: {key} is {arrays[key].shape}, expected {(rows, *shape)}")
    return {key: arrays[key] for key in ("names", *_SHAPES) if key in arrays}
