"""Training straight from the field's data sets: 300W-LP, 3DDFA's list, 300-W, FaceSynthetics."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import track

from bfm_assets import MorphableModel, read_model
from synergy.crop import landmark_box, square_crop, transform_points, warp
from synergy.data import DDFAReader, FaceReader, FaceSyntheticsReader, PtsReader, W300LPReader
from synergy.data.sample import FaceSample
from synergy.errors import UserError
from synergy.geometry import centre_depth, decompose_pose
from synergy.parameters import N_POSE, count_parameters, split_pose
from train.data import FaceDataModule, FaceDataset
from train.relabel import fit_coefficients

Kind = Literal["300w-lp", "3ddfa", "300w", "facesynthetics"]
Floats = NDArray[np.float32]


class ReaderData(FaceDataModule):
    """Training and validation batches of one public data set, cropped once by 3DDFA's rule and kept in memory.

    2D landmarks leave z unknown; parameters are fitted for the network's model where there are 3D landmarks and a
    rotation, unknown otherwise.

    Args:
        kind: which data set.
        path: its folder, tar or zip.
        model: name or file of the network's morphable model.
        bfm: a BFM or its 68-point basis, from which 300W-LP and 3DDFA get 3D landmarks.
        list_file, params_file, whitening_file: of 3DDFA's training set.
        validation_share: share of the samples held out, the same ones for the same data.
        batch_size: samples per process and step.
        seed: of the order of samples.
        large_poses: a sample is drawn with frequency 1 + large_poses * |yaw| / 60 degrees.
        limit: read only the first so many samples; 0 reads all.
    """

    def __init__(
        self,
        kind: Kind,
        path: Path,
        model: str = "open_face",
        bfm: str | None = None,
        list_file: Path | None = None,
        params_file: Path | None = None,
        whitening_file: Path | None = None,
        validation_share: float = 0.02,
        batch_size: int = 64,
        seed: int = 0,
        large_poses: float = 0.0,
        limit: int = 0,
    ) -> None:
        super().__init__(batch_size, seed, large_poses)
        basel = read_model(bfm) if bfm else None
        if kind == "3ddfa":
            if not (list_file and params_file and whitening_file):
                raise UserError("3DDFA's training set needs list_file, params_file and whitening_file")
            reader: FaceReader = DDFAReader(path, list_file, params_file, whitening_file, basel)
        elif kind == "300w-lp":
            reader = W300LPReader(path, basel)
        else:
            reader = {"300w": PtsReader, "facesynthetics": FaceSyntheticsReader}[kind](path)
        self.facts = {"source": reader.source, "n": len(reader), "hash": reader.digest()}
        images, labels = read_all(reader, read_model(model), limit or len(reader))
        order = np.random.default_rng(0).permutation(len(images))
        n_held_out = max(1, round(validation_share * len(images)))
        self.train_set = _subset(images, labels, order[n_held_out:])
        self.validation_sets = {reader.source: _subset(images, labels, order[:n_held_out])}


def read_all(
    reader: FaceReader, model: MorphableModel, count: int, side: int = 120
) -> tuple[NDArray[np.uint8], list[NDArray[np.generic]]]:
    """Crops (N, side, side, 3) of the first `count` samples and their labels in the order of `Batch`.

    Broken files are left out and listed in `reader.problems`.
    """
    images, landmarks, visibility, poses = [], [], [], []
    for _, sample in zip(range(count), track(reader, "reading", count, transient=True), strict=False):
        crop = _crop_of(sample, side)
        images.append(warp(sample.image, crop, side))
        landmarks.append(_three(transform_points(crop, sample.landmarks68)))
        visibility.append(sample.visibility68)
        poses.append(np.full(N_POSE, np.nan) if sample.params is None else split_pose(sample.params)[0])
    if not images:
        raise UserError(f"{reader.source}: no readable sample, for example {reader.problems[:1]}")
    points, pose = np.stack(landmarks), np.stack(poses).astype(np.float32)
    params = np.full((len(points), count_parameters(model)), np.nan, np.float32)
    known = np.isfinite(pose).all(1) & np.isfinite(points).all((1, 2))
    rotation = decompose_pose(torch.from_numpy(pose[known]))[1].numpy()
    params[known] = fit_coefficients(model, points[known], rotation, side)
    yaw = np.degrees(np.arcsin(np.clip(-decompose_pose(torch.from_numpy(pose))[1][:, 0, 2].numpy(), -1, 1)))
    labels = [points, np.stack(visibility), params, np.ones(len(points), np.float32), points[..., :2].copy(), yaw]
    return np.stack(images), labels


def _crop_of(sample: FaceSample, side: int) -> NDArray[np.floating]:
    """The affine map (2, 3) from the image to its crop: around the landmarks, or around the stated box without any."""
    known = np.isfinite(sample.landmarks68[:, :2]).all(1)
    if known.sum() >= 2:
        return square_crop(landmark_box(sample.landmarks68), side)
    if sample.box is None:
        raise UserError(f"{sample.name}: neither landmarks nor a box; give --data.bfm")
    return square_crop(sample.box, side)


def _three(landmarks: NDArray[np.floating]) -> Floats:
    """Landmarks (68, 2 or 3) as (68, 3) with zero mean z, unknown where there was none."""
    if landmarks.shape[1] == 2:
        return np.concatenate([landmarks, np.full((len(landmarks), 1), np.nan)], 1).astype(np.float32)
    return centre_depth(landmarks).astype(np.float32)


def _subset(images: NDArray[np.uint8], labels: list[NDArray[np.generic]], rows: NDArray[np.integer]) -> FaceDataset:
    return FaceDataset(images, [torch.from_numpy(label[rows]) for label in labels], rows)
