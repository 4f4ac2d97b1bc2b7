"""Write labels in 300W-LP's own layout, for code that reads it (Zhu et al., CVPR 2016).

    SET/NAME_k.jpg                450x450, the face about as large as in the original
    SET/NAME_k.mat                Pose_Para (1, 7), Shape_Para (199, 1), Exp_Para (29, 1), pt2d (2, 68), roi (1, 4), and
                                  the illumination, colour and texture entries, zero, as no texture is fitted
    landmarks/SET/NAME_k_pts.mat  pts_2d and pts_3d (68, 2)
    SET_Flip/...                  mirrored copies

k = 0 is the photo and larger k its views. Points are 1-based. pt2d has the hand labels where they are known and the
fitted points elsewhere; in the original, the rotated images and the mirrored copies hold other orders and other
images' points (see `synergy.data.w300lp`), which is not imitated.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path, PurePosixPath

import cv2
import numpy as np
import torch
from scipy.io import savemat

from bfm_assets.schema import MorphableModel
from synergy.errors import UserError
from synergy.geometry import decompose_pose
from synergy.parameters import split_parameters
from train.labels.pack import CROP_SIZE, Row
from train.labels.rows import RowMaker

SIZE = 450
_QUALITY = 95
_N_SHAPE, _N_EXPRESSION, _N_TEXTURE = 199, 29, 199
_MM_PER_UNIT = 1e-3  # BFM is in micrometres
_CHUNK = 64


def write_300w_lp(
    out: Path,
    name: str,
    maker: RowMaker,
    model: MorphableModel,
    progress: Callable[[int, int], object],
) -> Path:
    """Write all of a maker's rows under `out`, the set being called `name`; returns `out`."""
    if abs(model.mm_per_unit - _MM_PER_UNIT) > 1e-9 or model.n_shape > _N_SHAPE or model.n_expression > _N_EXPRESSION:
        raise UserError(f"--like 300w-lp holds parameters of BFM, but the model is '{model.name}': give --model a BFM")
    total = len(maker.source)
    for start in range(0, total, _CHUNK):
        counts: dict[str, int] = {}
        for row in maker.rows(range(start, min(start + _CHUNK, total))):
            mirrored = row["names"].endswith("#mirror")
            photo = PurePosixPath(row["names"].partition("#")[0]).with_suffix("").name
            folder = f"{name}_Flip" if mirrored else name
            k = counts.get(folder + photo, 0)
            counts[folder + photo] = k + 1
            _write(out, folder, f"{photo}_{k}", row, model)
        progress(min(start + _CHUNK, total), total)
    return out


def _write(out: Path, folder: str, stem: str, row: Row, model: MorphableModel) -> None:
    zoom = SIZE / CROP_SIZE

    def enlarged(points: object) -> np.ndarray:
        """Crop pixels to 1-based pixels of the file."""
        return (np.asarray(points, np.float64)[:, :2] + 0.5) * zoom - 0.5 + 1.0

    landmarks = enlarged(row["landmarks68"])
    hand = enlarged(row["hand68"])
    points = np.where(np.isnan(hand), landmarks, hand)
    low, high = landmarks.min(0), landmarks.max(0)
    pose, shape, expression = split_parameters(np.asarray(row["params"], np.float64), model.n_shape)
    variables = {
        "pt2d": points.T,
        "roi": np.array([[*np.floor(low), *np.ceil(high)]]).astype(np.int16),
        "Illum_Para": np.zeros((1, 10)),
        "Color_Para": np.array([[1, 1, 1, 0, 0, 0, 1]], np.float32),
        "Tex_Para": np.zeros((_N_TEXTURE, 1)),
        "Shape_Para": _column(shape, _N_SHAPE),
        "Exp_Para": _column(expression, _N_EXPRESSION),
        "Pose_Para": _pose_para(pose, np.deg2rad(row["pose_deg"]), zoom),
    }
    for directory in (out / folder, out / "landmarks" / folder):
        directory.mkdir(parents=True, exist_ok=True)
    image = cv2.resize(row["image"], (SIZE, SIZE), interpolation=cv2.INTER_CUBIC)
    cv2.imwrite(str(out / folder / f"{stem}.jpg"), image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    savemat(out / folder / f"{stem}.mat", variables)
    savemat(out / "landmarks" / folder / f"{stem}_pts.mat", {"pts_2d": points, "pts_3d": landmarks})


def _pose_para(pose: np.ndarray, angles: np.ndarray, zoom: float) -> np.ndarray:
    """(1, 7) float32 pitch, yaw, roll, t and scale, for 1-based x = V_x and y = SIZE + 1 - V_y."""
    scale, _, shift = decompose_pose(torch.from_numpy(pose))
    # Pixel centres: x -> (x + 1/2) zoom - 1/2, and y = size - V_y turns round with it.
    moved = shift.numpy() * zoom + [zoom / 2 - 0.5 + 1.0, 0.5 - zoom / 2, 0.0]
    return np.array([[*angles, *moved, float(scale) * zoom]], np.float32)


def _column(values: np.ndarray, length: int) -> np.ndarray:
    return np.pad(values, (0, length - len(values)))[:, None]
