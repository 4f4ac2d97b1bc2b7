"""Public data sets as training data: 300W-LP, 3DDFA's training set, 300-W, FaceSynthetics and JVCR's annotations."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import track
from torch import Tensor

from bfm_assets import MorphableModel, read_model
from synergy.crop import square_crop, transform_points, warp
from synergy.data import DDFAReader, FaceReader, FaceSyntheticsReader, JVCRReader, PtsReader, W300LPReader
from synergy.data.reader import stem
from synergy.errors import UserError
from synergy.geometry import centre_depth, decompose_pose, matrix_to_euler
from synergy.parameters import N_POSE, count_parameters, split_pose
from train.data import FaceDataModule, FaceDataset, yaw_frequency
from train.packs.pack import CROP_SIZE
from train.relabel import fit_coefficients

Kind = Literal["300w-lp", "3ddfa", "300w", "facesynthetics", "jvcr"]
Floats = NDArray[np.float32]


class ReaderData(FaceDataModule):
    """Training and validation samples of one public data set, cropped once by 3DDFA's rule and kept in memory.

    The depth of 2D landmarks is unknown. Parameters are fitted with the network's morphable model if 3D landmarks and a
    rotation are known, and are unknown otherwise.

    Args:
        kind: the data set.
        path: its folder, tar or zip; for "jvcr" the annotation file `.json`.
        model: name or file of the network's morphable model.
        bfm: a BFM or its 68-point basis. 300W-LP and 3DDFA need it for 3D landmarks.
        list_file: list of images of 3DDFA's training set.
        params_file: parameters of 3DDFA's training set.
        whitening_file: whitening of these parameters.
        images: folder, tar or zip of the images of JVCR's annotations; by default the folder of the annotation file.
        validation_fraction: fraction of the photos for validation. They are the same in every run on the same data.
            300W-LP's rotated and mirrored images of a photo stay together. 3DDFA's are chosen image by image. If JVCR's
            annotations say which entries are for validation, these are.
        batch_size: number of samples per process and step.
        seed: of the order of the training samples.
        large_poses: see `train.data.yaw_frequency`.
        limit: read only the first so many samples; 0 reads all.
        calibration: fraction of the other photos for the calibration set, which are not used for training.
        resolution: side of the stored crops in pixels, for networks that take larger images than 120 pixels.

    Raises:
        UserError: a file is missing, or no sample can be read.
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
        images: Path | None = None,
        validation_fraction: float = 0.02,
        batch_size: int = 64,
        seed: int = 0,
        large_poses: float = 0.0,
        limit: int = 0,
        calibration: float = 0.0,
        resolution: int = CROP_SIZE,
    ) -> None:
        super().__init__(batch_size, seed)
        basel = read_model(bfm) if bfm else None
        if kind == "3ddfa":
            if not (list_file and params_file and whitening_file):
                raise UserError("--data.kind 3ddfa needs --data.list_file, .params_file and .whitening_file too")
            reader: FaceReader = DDFAReader(path, list_file, params_file, whitening_file, basel)
        elif kind == "300w-lp":
            reader = W300LPReader(path, basel)
        elif kind == "jvcr":
            reader = JVCRReader(path, images)
        else:
            reader = {"300w": PtsReader, "facesynthetics": FaceSyntheticsReader}[kind](path)
        self.facts = {"source": reader.source, "n": len(reader), "hash": reader.digest()}
        crops, labels, names = read_all(reader, read_model(model), limit or len(reader), resolution)
        photos = np.array([_photo_of(name) for name in names] if kind == "300w-lp" else names)
        if isinstance(reader, JVCRReader) and reader.validation_names:
            is_validation = np.isin(names, list(reader.validation_names))
        else:
            is_validation = _choose_photos(photos, validation_fraction)
        is_calibration = np.zeros(len(photos), bool)
        if calibration:
            is_calibration[~is_validation] = _choose_photos(photos[~is_validation], calibration)
        self.train_set = FaceDataset(crops, labels, np.flatnonzero(~is_validation & ~is_calibration))
        self.calibration_set = FaceDataset(crops, labels, np.flatnonzero(is_calibration))
        self.frequency = yaw_frequency(self.train_set.label("yaw"), large_poses)
        self.validation_sets = {reader.source: FaceDataset(crops, labels, np.flatnonzero(is_validation))}


def _photo_of(name: str) -> str:
    """Return the photo of an image of 300W-LP.

    The rotated images of a photo end in _0, _1 and so on. The mirrored ones are in folders whose names end in _Flip.
    """
    return re.sub(r"_\d+$", "", stem(name)).replace("_Flip/", "/")


def _choose_photos(photos: NDArray[np.str_], fraction: float) -> NDArray[np.bool_]:
    """Return for each sample whether its photo (N,) is one of a random fraction of the photos, of at least one."""
    unique = np.unique(photos)
    chosen = np.random.default_rng(0).permutation(unique)[: max(1, round(fraction * len(unique)))]
    return np.isin(photos, chosen)


def read_all(
    reader: FaceReader, model: MorphableModel, count: int, resolution: int = CROP_SIZE
) -> tuple[NDArray[np.uint8], dict[str, Tensor], list[str]]:
    """Read samples as crops and labels. Files that cannot be read are left out, which is a warning.

    Args:
        reader: the data set.
        model: morphable model of the parameters.
        count: number of samples to read.
        resolution: side of the crops in pixels.

    Returns:
        Crops (N, resolution, resolution, 3) uint8 RGB; their labels by the names in `train.batch.Batch`, each (N, ...),
        in pixels of crops of 120 pixels; and the names of the samples.

    Raises:
        UserError: no sample can be read.
    """
    images, landmarks, visibility, poses, names = [], [], [], [], []
    for _, sample in zip(range(count), track(reader, "reading", count, transient=True), strict=False):
        box = reader.box_of(sample)
        if not np.isfinite(box).all():
            raise UserError(f"{sample.name}: neither landmarks nor a box; give --data.bfm")
        crop = square_crop(box, CROP_SIZE)
        images.append(warp(sample.image, square_crop(box, resolution), resolution))
        names.append(sample.name)
        landmarks.append(_with_depth(transform_points(crop, sample.landmarks68)))
        visibility.append(sample.visibility68)
        poses.append(np.full(N_POSE, np.nan) if sample.params is None else split_pose(sample.params)[0])
    if not images:
        first = "".join(f"; {problem}" for problem in reader.problems[:1])
        raise UserError(f"{reader.source}: no readable sample{first}")
    if problems := reader.problems:
        warnings.warn(f"{len(problems)} files of {reader.tree.path} are left out, such as {problems[0]}", stacklevel=2)
    points, pose = np.stack(landmarks), np.stack(poses).astype(np.float32)
    rotation = decompose_pose(torch.from_numpy(pose))[1]
    known = np.isfinite(pose).all(1) & np.isfinite(points).all((1, 2))
    params = np.full((len(points), count_parameters(model)), np.nan, np.float32)
    params[known] = fit_coefficients(model, points[known], rotation[torch.from_numpy(known)].numpy())
    labels = {
        "landmarks": points,
        "visibility": np.stack(visibility),
        "params": params,
        "weight": np.ones(len(points), np.float32),
        "annotated68": points[..., :2].copy(),
        "yaw": np.degrees(matrix_to_euler(rotation)[:, 1].numpy()),
    }
    return np.stack(images), {name: torch.from_numpy(label) for name, label in labels.items()}, names


def _with_depth(landmarks: NDArray[np.floating]) -> Floats:
    """Return landmarks (68, 2 or 3) as (68, 3). The mean of z is zero; z is NaN if it was not given."""
    if landmarks.shape[1] == 2:
        return np.concatenate([landmarks, np.full((len(landmarks), 1), np.nan)], 1).astype(np.float32)
    return centre_depth(landmarks).astype(np.float32)
