"""Measure the quality of labels: the tables of docs/labels.md."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.io import loadmat
from torch import Tensor

from bfm_assets import read_model
from bfm_assets.fit import similarity
from synergy.geometry import flip_y
from train.annotate.calibration import Calibration, yaw_deg
from train.annotate.faces import FaceParameters, PointModel
from train.annotate.fusion import fit_annotations, fuse, measure_residuals
from train.annotate.observations import N_OBSERVED, observation_matrix, open_reader, read_observations
from train.annotate.teachers import read_predictions

_YAW_BINS_DEG = (0.0, 30.0, 60.0, 100.0)
# A face has both annotations when it has more than this many of the 68 points and of AFLW's 21.
_FEWEST_68, _FEWEST_21 = 30, 8


def measure_agreement(
    data: str | Path, teacher: str | Path, model: str | Path, calibration: str | Path
) -> dict[str, str]:
    """Compare labels made from 68 points with AFLW's 21 points, which were annotated by other people.

    Args:
        data: AFLW crops with both annotations.
        teacher: prediction file for them.
        model: morphable model.
        calibration: `calibration.npz` of the AFLW training pack.

    Returns:
        For each way to make labels: mean distance to the 21 points without their bias, in % of the face size, by yaw.
    """
    point_model = PointModel.create(read_model(model), observation_matrix())
    observations = read_observations(open_reader(data))
    points = torch.from_numpy(flip_y(observations.points))
    predicted = read_predictions(teacher, observations.names, point_model)
    errors = Calibration.load(calibration)
    known = points[..., 0].isfinite()
    both = (known[:, :68].sum(-1) > _FEWEST_68) & (known[:, 68:].sum(-1) > _FEWEST_21)
    points, predicted = points[both], predicted[both]
    given, judge = points.clone(), points.clone()
    given[:, 68:], judge[:, :68] = torch.nan, torch.nan
    yaw = yaw_deg(predicted).numpy()
    table = {}
    for name, faces in _candidates(point_model, predicted, given, errors).items():
        distance = measure_residuals(point_model, faces, judge, errors)[0]
        table[name] = format_by_yaw(100 * distance.nanmean(-1).numpy(), yaw)
    return {**table, "faces": str(int(both.sum()))}


def measure_aflw2000(data: str | Path, peer: str | Path, model: str | Path, calibration: str | Path) -> dict[str, str]:
    """Compare labels made from AFLW's 21 points with AFLW2000-3D. This is a report: nothing may be chosen by it.

    Args:
        data: folder of AFLW2000-3D with .mat files that hold the 21 points.
        peer: `.npz` with a network's `landmarks68`, and with `reannotated68`.
        model: morphable model.
        calibration: `calibration.npz` of the AFLW training pack.

    Returns:
        For each way to make labels: 2D NME in % by yaw, against the original | the reannotated labels.
    """
    morphable_model = read_model(model)
    point_model, errors = PointModel.create(morphable_model, observation_matrix()), Calibration.load(calibration)
    arrays = np.load(peer)
    mats = [loadmat(Path(data) / f"{Path(name).stem}.mat") for name in arrays["names"].tolist()]
    truth = np.stack([mat["pt3d_68"].T[:, :2] - 1 for mat in mats])
    annotated = np.stack([mat["pt2d"].T.astype(float) for mat in mats])
    annotated[(annotated < 0).any(-1)] = np.nan
    points = torch.full((len(mats), N_OBSERVED, 3), torch.nan, dtype=torch.float64)
    points[:, 68:, :2] = torch.from_numpy(flip_y(annotated - 1))
    network = arrays["landmarks68"].astype(np.float64)
    mean = morphable_model.mean[morphable_model.landmarks].astype(np.float64)
    _, rotation, _ = similarity(np.broadcast_to(mean, network.shape), flip_y(network))
    predicted = FaceParameters.from_landmarks(point_model, network, rotation, noise=0.01)
    landmark_model = PointModel.create(morphable_model)
    pixels = {
        name: flip_y(faces.project(landmark_model))[..., :2].numpy()
        for name, faces in _candidates(point_model, predicted, points, errors).items()
    }
    pixels["prediction"] = network[..., :2]
    pixels["mean of both"] = (pixels["prediction"] + pixels["annotations"]) / 2
    yaw = np.array([np.degrees(mat["Pose_Para"][0, 1]) for mat in mats])
    size = np.sqrt(np.ptp(truth, axis=1).prod(-1))
    references = (truth, arrays["reannotated68"].astype(np.float64))
    table = {
        name: " | ".join(
            format_by_yaw(100 * np.linalg.norm(points68 - reference, axis=-1).mean(1) / size, yaw)
            for reference in references
        )
        for name, points68 in pixels.items()
    }
    return {**table, "faces": str(len(mats))}


def format_by_yaw(error: NDArray[np.floating], yaw: NDArray[np.floating]) -> str:
    """Format errors (N,) as `0-30 / 30-60 / 60-90, mean of the three` by |yaw| (N,) in degrees, leaving out NaN."""
    means = [np.nanmean(error[(np.abs(yaw) > low) & (np.abs(yaw) <= high)]) for low, high in pairwise(_YAW_BINS_DEG)]
    return " / ".join(f"{mean:.2f}" for mean in means) + f", mean {np.mean(means):.2f}"


def _candidates(
    model: PointModel, predicted: FaceParameters, points: Tensor, calibration: Calibration
) -> dict[str, FaceParameters]:
    """Return the faces of each way to make labels."""
    without_bias = replace(Calibration.default(model), mean_coefficients=calibration.mean_coefficients)
    return {
        "prediction": predicted,
        "annotations, bias ignored": fit_annotations(model, points, without_bias).faces,
        "annotations": fit_annotations(model, points, calibration).faces,
        "fused": fuse(model, predicted, points, calibration).faces,
    }
