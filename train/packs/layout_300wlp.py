"""Export a pack in the file layout of 300W-LP, for code that reads it (Zhu et al., CVPR 2016).

    SET/NAME_k.jpg                450x450, the face about as large as in the original
    SET/NAME_k.mat                Pose_Para (1, 7), Shape_Para (199, 1), Exp_Para (29, 1), pt2d (2, 68), roi (1, 4), and
                                  the illumination, colour and texture entries with neutral values
    landmarks/SET/NAME_k_pts.mat  pts_2d and pts_3d (68, 2)

k = 0 is the photo, larger k are its profiled images. Photos of a set with the same name in different folders are
numbered one after another, each followed by its profiled images. Points are 1-based. pt2d has the annotations where
they are known and the label elsewhere. In the original, pt2d of rotated images has another order
(`synergy.data.w300lp`); this is not imitated.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path, PurePosixPath

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.io import savemat

from synergy.errors import UserError
from synergy.geometry import decompose_pose
from synergy.parameters import split_parameters
from train.packs.pack import CROP_SIZE, Pack, photo_name

Floats = NDArray[np.floating]

SIZE = 450
_ZOOM = SIZE / CROP_SIZE
_QUALITY = 95
_N_SHAPE, _N_EXPRESSION, _N_TEXTURE = 199, 29, 199
_MM_PER_UNIT = 1e-3  # BFM is in micrometres


def export_300w_lp(pack_path: str | Path, out: str | Path, progress: Callable[[int, int], object]) -> None:
    """Write all images and labels of a pack.

    Args:
        pack_path: a pack whose morphable model is a form of BFM.
        out: directory to write. Each source of the pack is a set.
        progress: called with the number of rows that are done and that there are.

    Raises:
        UserError: the labels are not those of a BFM.
    """
    pack, counts = Pack.open(pack_path), dict[str, int]()
    about = pack.manifest
    fits = about["n_shape"] <= _N_SHAPE and about["n_expression"] <= _N_EXPRESSION
    if abs(about["mm_per_unit"] - _MM_PER_UNIT) > 1e-9 or not fits:
        raise UserError(
            f"300W-LP's files hold parameters of BFM, but {pack_path} has those of '{about['model']}'; "
            "build the pack with --morphable-model BFM"
        )
    for i, name in enumerate(pack.names.tolist()):
        folder = pack.sources[i].partition("+")[0]
        stem = f"{folder}/{PurePosixPath(photo_name(name)).with_suffix('').name}"
        k = counts.get(stem, 0)
        counts[stem] = k + 1
        _write_row(Path(out), f"{stem}_{k}", pack, i)
        progress(i + 1, len(pack))


def _write_row(out: Path, stem: str, pack: Pack, i: int) -> None:
    landmarks, annotated = _to_file_pixels(pack.landmarks68[i]), _to_file_pixels(pack.annotated68[i])
    points = np.where(np.isnan(annotated), landmarks, annotated)
    pose, shape, expression = split_parameters(pack.params[i].astype(np.float64), pack.manifest["n_shape"])
    variables = {
        "pt2d": points.T,
        "roi": np.array([[*np.floor(landmarks.min(0)), *np.ceil(landmarks.max(0))]]).astype(np.int16),
        "Illum_Para": np.zeros((1, 10)),
        "Color_Para": np.array([[1, 1, 1, 0, 0, 0, 1]], np.float32),
        "Tex_Para": np.zeros((_N_TEXTURE, 1)),
        "Shape_Para": _column(shape, _N_SHAPE),
        "Exp_Para": _column(expression, _N_EXPRESSION),
        "Pose_Para": _pose_para(pose, np.deg2rad(pack.pose_deg[i])),
    }
    image = cv2.resize(pack.image(i), (SIZE, SIZE), interpolation=cv2.INTER_CUBIC)
    for file in (out / stem, out / "landmarks" / stem):
        file.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(out / f"{stem}.jpg"), image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    savemat(out / f"{stem}.mat", variables)
    savemat(out / "landmarks" / f"{stem}_pts.mat", {"pts_2d": points, "pts_3d": landmarks})


def _to_file_pixels(points: Floats) -> Floats:
    """Convert points (68, 2 or 3) in crop pixels to 1-based pixels (68, 2) of the file."""
    return (np.asarray(points, np.float64)[:, :2] + 0.5) * _ZOOM - 0.5 + 1.0


def _pose_para(pose: Floats, angles: Floats) -> Floats:
    """Return (1, 7) float32 pitch, yaw, roll, t and scale, for 1-based x = V_x and y = SIZE + 1 - V_y."""
    scale, _, translation = decompose_pose(torch.from_numpy(pose))
    # A pixel centre x becomes (x + 1/2) zoom - 1/2; V_y = size - y moves the other way.
    moved = translation.numpy() * _ZOOM + [_ZOOM / 2 - 0.5 + 1.0, 0.5 - _ZOOM / 2, 0.0]
    return np.array([[*angles, *moved, float(scale) * _ZOOM]], np.float32)


def _column(values: Floats, length: int) -> Floats:
    """Return values as a column of a given length, padded with zeros."""
    return np.pad(values, (0, length - len(values)))[:, None]
