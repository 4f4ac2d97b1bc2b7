"""Choose the reader of a data set by what its folder or archive holds."""

from __future__ import annotations

from pathlib import Path

from bfm_assets import MorphableModel
from bfm_assets.detect import has_3ddfa_modes
from synergy.data.aflw2000 import AFLW2000Reader
from synergy.data.annotated_crops import AnnotatedCropsReader
from synergy.data.pts300w import PtsReader
from synergy.data.reader import FaceReader, SampleError
from synergy.data.w300lp import W300LPReader
from synergy.errors import UserError


def open_reader(path: str | Path, model: MorphableModel | None = None, automatic: bool = False) -> FaceReader:
    """Return the first reader that can read one of the first three samples of a folder or archive.

    Args:
        path: annotated crops (an .npz next to the archive), .pts files, AFLW2000-3D or 300W-LP (.mat).
        model: a BFM with 3DDFA's modes, from which 300W-LP's rotated images get their landmarks. Others are not used.
        automatic: keep annotations that look like the output of an automatic fit (`AnnotatedCropsReader`).

    Raises:
        UserError: nothing readable is there.
    """
    path = Path(path)
    if not path.exists():
        raise UserError(f"{path}: no such file or folder")
    if not path.is_dir() and path.with_suffix(".npz").exists():
        return AnnotatedCropsReader(path, automatic=automatic)
    basel = model if model is not None and has_3ddfa_modes(model) else None
    opened: list[FaceReader] = []
    for make in (PtsReader, AFLW2000Reader, lambda where: W300LPReader(where, basel)):
        try:
            opened.append(make(path))
        except UserError:
            continue
        if any(_is_readable(opened[-1], i) for i in range(min(len(opened[-1]), 3))):
            return opened[-1]
    if not opened:
        raise UserError(f"{path}: nothing to read: no images with .pts or .mat files next to them")
    return opened[0]


def _is_readable(reader: FaceReader, index: int) -> bool:
    try:
        reader.read(index)
    except SampleError:
        return False
    return True
