"""A data set and a network's predictions for it, as the arrays that labelling works on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bfm_assets.npz import ModelFileError, read_arrays
from bfm_assets.schema import MorphableModel
from synergy.compat.whitening import to_zero_based
from synergy.crop import affine_scale, invert_affine
from synergy.data import AFLW2000Reader, AFLWReader, FaceReader, PtsReader, W300LPReader
from synergy.data.reader import SampleError
from synergy.errors import UserError
from synergy.geometry import flip_y
from synergy.parameters import N_POSE
from train.labels.evidence import N_EVIDENCE
from train.labels.fit import Basis, Faces


@dataclass(frozen=True)
class Source:
    """N faces with labels, without their images.

    Attributes:
        reader: where the images are.
        index: (N,) the faces' indices in the reader.
        names: N names.
        hand: (N, 89, 3) evidence points (`train.labels.evidence`) in image pixels, y down; NaN where unknown.
        visibility: (N, 68) int8.
    """

    reader: FaceReader
    index: NDArray[np.int64]
    names: list[str]
    hand: NDArray[np.float64]
    visibility: NDArray[np.int8]

    def __len__(self) -> int:
        return len(self.names)


def open_reader(path: str | Path, model: MorphableModel | None = None) -> FaceReader:
    """The reader for a folder or archive: the first that can read a sample of it.

    AFLW pack (.npz beside the archive), .pts files, AFLW2000-3D or 300W-LP (.mat). `model` is a BFM for 300W-LP's
    rotated images, without which only its unrotated ones have landmarks.
    """
    path = Path(path)
    if not path.exists():
        raise UserError(f"{path}: no such file or folder")
    if not path.is_dir() and path.with_suffix(".npz").exists():
        return AFLWReader(path)
    opened: list[FaceReader] = []
    for make in (PtsReader, AFLW2000Reader, lambda where: W300LPReader(where, model)):
        try:
            opened.append(make(path))
        except UserError:
            continue
        if any(_readable(opened[-1], i) for i in range(min(len(opened[-1]), 3))):
            return opened[-1]
    if not opened:
        raise UserError(f"{path}: nothing to read: no images with .pts or .mat files beside them")
    return opened[0]


def _readable(reader: FaceReader, index: int) -> bool:
    try:
        reader.read(index)
    except SampleError:
        return False
    return True


def read_source(reader: FaceReader, limit: int | None = None) -> Source:
    """All readable faces of a data set, or of its first `limit`; broken ones are counted in `reader.problems`."""
    index, names, hand, visibility = [], [], [], []
    for i, name in enumerate(reader.names[:limit]):
        try:
            sample = reader.read(i, image=False)
        except SampleError as error:
            reader.skip(name, str(error))
            continue
        points = np.full((N_EVIDENCE, 3), np.nan)
        points[:68, : sample.landmarks68.shape[1]] = sample.landmarks68
        if sample.points21 is not None:
            points[68:, :2] = sample.points21
        index.append(i)
        names.append(sample.name)
        hand.append(points)
        visibility.append(sample.visibility68)
    if not names:
        raise UserError(f"{reader.tree.path}: no readable face in it ({len(reader.problems)} broken)")
    return Source(reader, np.array(index), names, np.stack(hand), np.stack(visibility))


def read_teacher(path: str | Path, source: Source, basis: Basis) -> Faces:
    """A network's predictions for a data set's faces, in image pixels, y up; NaN rows for faces it does not name.

    The `.npz` holds names (M,), crop_affine (M, 2, 3) from image to 120x120 crop pixels, and either `params`
    (M, 12 + K) in our convention or `params62` in 3DDFA's, whose x = V_x - 1. Names match by their last component.
    """
    try:
        arrays = read_arrays(path, ("names", "crop_affine"), "prediction file")
    except ModelFileError as error:
        raise UserError(str(error)) from None
    key = next((key for key in ("params", "params62") if key in arrays), None)
    width = N_POSE + basis.modes.shape[-1]
    if key is None or arrays[key].shape != (len(arrays["names"]), width):
        found = "no params" if key is None else f"{key} {arrays[key].shape}"
        raise UserError(f"{path}: {found}, expected params ({len(arrays['names'])}, {width}) for this model")
    rows = {PurePosixPath(name).name: row for row, name in enumerate(arrays["names"].tolist())}
    order = [rows.get(PurePosixPath(name).name, -1) for name in source.names]
    params = torch.from_numpy(arrays[key].astype(np.float64))[order]
    if key == "params62":
        params = to_zero_based(params)
    faces = to_image(Faces.from_parameters(basis, params, 120.0), torch.from_numpy(arrays["crop_affine"][order]))
    missing = torch.tensor(order) < 0
    faces.log_scale[missing] = torch.nan
    return faces


def to_image(faces: Faces, crop_affine: Tensor) -> Faces:
    """Faces in crop pixels, y up, to image pixels: `crop_affine` (N, 2, 3) maps image to crop pixels."""
    return transformed(faces, torch.from_numpy(invert_affine(crop_affine.double().numpy())))


def transformed(faces: Faces, affine: Tensor) -> Faces:
    """Faces after image maps (N, 2, 3), y down, that scale and shift."""
    scale = torch.from_numpy(np.asarray(affine_scale(affine.numpy())))
    plane = faces.translation[:, :2] * scale[:, None] + flip_y(affine[:, :, 2])
    translation = torch.cat([plane, faces.translation[:, 2:] * scale[:, None]], -1)
    return Faces(faces.rotation, faces.log_scale + scale.log(), translation, faces.coefficients)
