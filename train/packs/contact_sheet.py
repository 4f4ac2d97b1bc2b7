"""Draw contact sheets of a pack: each label over its image."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from bfm_assets import open_face
from synergy.draw import draw_axes, draw_contours, draw_points
from synergy.errors import UserError
from synergy.face import Pose
from synergy.geometry import euler_to_matrix
from synergy.raster import rasterize
from train.packs.pack import CROP_SIZE, Pack
from train.profiling.surface import SurfaceFitter

Image = NDArray[np.uint8]

_ZOOM = 2
_BINS = (-90.0, -60.0, -30.0, 0.0, 30.0, 60.0, 90.1)
_ANNOTATED, _OUTLINE = (255, 60, 60), (255, 210, 80)


def show_pack(pack: str | Path, out_png: str | Path, columns: int = 10, worst: bool = False) -> Path:
    """Draw a contact sheet of a pack.

    Green lines are the label, red points the manual annotations, the yellow line is the outline of the fitted mesh, and
    the axes show the head pose.

    Args:
        pack: directory of a pack.
        out_png: picture to write.
        columns: number of samples of each range of yaw.
        worst: draw the labels with the smallest weights instead.

    Returns:
        The path of the picture.

    Raises:
        UserError: the picture cannot be written.
    """
    opened = Pack.open(pack)
    if worst:
        rank = np.asarray(opened.weight) - 1e-3 * np.nan_to_num(np.asarray(opened.residual)).clip(0, 100)
        chosen = np.argsort(rank, kind="stable")[: 6 * columns]
    else:
        chosen = _sample_yaws(np.asarray(opened.pose_deg)[:, 1], columns)
    fitter = SurfaceFitter(open_face())
    rotation = euler_to_matrix(torch.from_numpy(opened.pose_deg[chosen]).deg2rad()).numpy()
    surfaces = fitter.surfaces(opened.landmarks68[chosen], rotation)
    tiles = [_tile(opened, int(i), s, fitter.model.triangles) for i, s in zip(chosen, surfaces, strict=True)]
    tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % columns)
    sheet = np.vstack([np.hstack(tiles[at : at + columns]) for at in range(0, len(tiles), columns)])
    if not cv2.imwrite(str(out_png), sheet[..., ::-1]):
        raise UserError(f"{out_png}: cannot write a picture there; use a name that ends in .png or .jpg")
    return Path(out_png)


def _sample_yaws(yaw_deg: NDArray[np.floating], per_bin: int) -> NDArray[np.int64]:
    """Return the indices of `per_bin` samples from each range of yaw, fewer where there are fewer, always the same."""
    rng = np.random.default_rng(0)
    inside = [np.flatnonzero((yaw_deg >= low) & (yaw_deg < high)) for low, high in pairwise(_BINS)]
    return np.concatenate([rng.choice(some, min(per_bin, len(some)), replace=False) for some in inside])


def _tile(pack: Pack, index: int, surface: NDArray[np.float32], triangles: NDArray[np.int32]) -> Image:
    size = CROP_SIZE * _ZOOM
    image = np.asarray(cv2.resize(pack.image(index), (size, size), interpolation=cv2.INTER_CUBIC), np.uint8)

    def enlarged(points: NDArray[np.floating]) -> NDArray[np.floating]:
        return (points[..., :2] + 0.5) * _ZOOM - 0.5

    placed = np.concatenate([enlarged(surface), surface[:, 2:] * _ZOOM], 1).astype(np.float32)
    outline, _ = cv2.findContours(
        rasterize(placed, triangles, size, size).mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
    )
    cv2.drawContours(image, outline, -1, _OUTLINE, 1, cv2.LINE_AA)
    landmarks = enlarged(pack.landmarks68[index])
    image = draw_contours(image, landmarks)
    for points in (pack.annotated68[index], pack.annotated21[index]):
        known = points[np.isfinite(points).all(-1)]
        if len(known):
            image = draw_points(image, enlarged(known), _ANNOTATED, 1.5)
    angles = torch.from_numpy(np.array(pack.pose_deg[index]))
    matrix = euler_to_matrix(angles.deg2rad()).numpy()
    pitch, yaw, roll = angles.tolist()
    image = draw_axes(image, Pose(pitch, yaw, roll, matrix, 1.0), landmarks[30], 40.0)
    residual = f"  {pack.residual[index]:.1f}%" if np.isfinite(pack.residual[index]) else ""
    text = f"{yaw:.0f} deg  w {pack.weight[index]:.2f}{residual}"
    cv2.putText(image, text, (4, 14), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (255, 255, 255), 1, cv2.LINE_AA)
    return image
