"""Measure the quality of labels: the tables of docs/labels.md."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bfm_assets import read_model
from bfm_assets.fit import similarity
from bfm_assets.matfile import read_mat_numbers
from bfm_assets.safe_files import read_arrays, reading
from eval.metrics import box_size, by_yaw, nme
from synergy.data import open_reader
from synergy.errors import UserError
from synergy.geometry import flip_y, geodesic_angle
from train.annotate.calibration import Calibration, yaw_deg
from train.annotate.faces import FaceParameters, PointModel
from train.annotate.fusion import DEFAULT_FACTORS, FusionFactors, fit_annotations, fuse, measure_residuals
from train.annotate.observations import N_OBSERVED, observation_matrix, read_observations
from train.annotate.predictions import read_predictions
from train.annotate.teachers import TeacherWeights, align_teachers, combine_teachers

# A face is used when it has more than this many points of each of the two annotations.
_FEWEST_POINTS = 8


@dataclass(frozen=True)
class QualityInputs:
    """Inputs of `measure_agreement`.

    Attributes:
        data: annotated crops.
        teachers: prediction files for them.
        model: morphable model.
        pack: training pack of the same source, whose `calibration.npz` and `teacher_weights.json` are used.
        judge: name of a teacher that is left out of the labels and judges their rotation; None for none.
        identities_above: only people with larger numbers.
        factors: of the error estimates.
    """

    data: str | Path
    teachers: Sequence[str | Path]
    model: str | Path
    pack: str | Path
    judge: str | None = None
    identities_above: int | None = None
    factors: FusionFactors = DEFAULT_FACTORS


def measure_agreement(inputs: QualityInputs) -> dict[str, str]:
    """Make labels from a part of the annotated points and compare them with the other part.

    The parts are the 68 points and AFLW's 21, which were annotated by other people. Where there are no 21 points, they
    are the points with even and with odd indices.

    Returns:
        For each way to make labels: mean distance to the other part without its bias, in % of the face size, for labels
        from the first part, then from the second; then the mean angle to the judge's rotation for both, in degrees. All
        by |yaw|.

    Raises:
        ModelFileError: a file is missing or damaged.
        UserError: the pack is of another morphable model, or there is no such judge.
    """
    model = PointModel.create(read_model(inputs.model), observation_matrix())
    observations = read_observations(open_reader(inputs.data))
    predictions = read_predictions(inputs.teachers, observations.names)
    judge = next((p.rotation for p in predictions if p.name == inputs.judge), None)
    if inputs.judge is not None and judge is None:
        names = ", ".join(p.name for p in predictions)
        raise UserError(f"no teacher '{inputs.judge}' with a rotation; there are {names}")
    teachers = align_teachers(model, [p for p in predictions if p.name != inputs.judge])
    weights = TeacherWeights.load(Path(inputs.pack) / "teacher_weights.json", teachers.names)
    calibration = Calibration.load(Path(inputs.pack) / "calibration.npz", model)
    points = torch.from_numpy(observations.points)
    parts = _parts(points)
    used = torch.stack([part[..., 0].isfinite().sum(-1) > _FEWEST_POINTS for part in parts]).all(0)
    if inputs.identities_above is not None:
        used &= torch.from_numpy(observations.identity > inputs.identities_above)
    base, combined = teachers.base[used], combine_teachers(teachers, weights)[used]
    first, second = (part[used] for part in parts)
    yaw = yaw_deg(base).numpy()
    columns: dict[str, list[str]] = {}
    rotations: dict[str, list[str]] = {}
    for given, held_out in ((first, second), (second, first)):
        for name, faces in _candidates(model, base, combined, given, calibration, inputs.factors).items():
            distance = 100 * measure_residuals(model, faces, held_out, calibration)[0].nanmean(-1)
            columns.setdefault(name, []).append(format_by_yaw(distance.numpy(), yaw))
            if judge is not None:
                angle_deg = geodesic_angle(faces.rotation, torch.from_numpy(judge)[used]).rad2deg()
                rotations.setdefault(name, []).append(format_by_yaw(angle_deg.numpy(), yaw))
    table = {name: " | ".join([*column, *rotations.get(name, ())]) for name, column in columns.items()}
    return {**table, "faces": str(int(used.sum()))}


def _parts(points: Tensor) -> tuple[Tensor, Tensor]:
    """Split annotations (N, 89, 3) into two parts that do not share a point."""
    second = torch.zeros(points.shape[1], dtype=torch.bool)
    second[68:] = True
    if not points[:, 68:, 0].isfinite().any():
        second = torch.arange(points.shape[1]) % 2 == 1
    return points.masked_fill(second[:, None], torch.nan), points.masked_fill(~second[:, None], torch.nan)


def measure_aflw2000(data: str | Path, peer: str | Path, model: str | Path, calibration: str | Path) -> dict[str, str]:
    """Compare labels made from AFLW's 21 points with AFLW2000-3D. This is a report: nothing may be chosen by it.

    Args:
        data: folder of AFLW2000-3D with .mat files that hold the 21 points.
        peer: `.npz` with a network's `landmarks68`, and with `reannotated68`.
        model: morphable model.
        calibration: `calibration.npz` of the AFLW training pack.

    Returns:
        For each way to make labels: 2D NME in % by yaw, against the original | the reannotated labels.

    Raises:
        ModelFileError: a file is missing or damaged.
        UserError: the calibration is of another morphable model.
    """
    morphable_model = read_model(model)
    point_model = PointModel.create(morphable_model, observation_matrix())
    errors = Calibration.load(calibration, point_model)
    arrays = read_arrays(peer, ("names", "landmarks68", "reannotated68"), "file of a network's landmarks")
    mats = [_read_mat(Path(data) / f"{Path(name).stem}.mat") for name in arrays["names"].tolist()]
    truth = np.stack([mat["pt3d_68"].T[:, :2] - 1 for mat in mats])
    annotated = np.stack([mat["pt2d"].T for mat in mats])
    annotated[(annotated < 0).any(-1)] = np.nan
    points = torch.full((len(mats), N_OBSERVED, 3), torch.nan, dtype=torch.float64)
    points[:, 68:, :2] = torch.from_numpy(flip_y(annotated - 1))
    network = arrays["landmarks68"].astype(np.float64)
    mean = morphable_model.mean[morphable_model.landmarks].astype(np.float64)
    _, rotation, _ = similarity(np.broadcast_to(mean, network.shape), flip_y(network))
    predicted = FaceParameters.from_landmarks(point_model, network, rotation, noise=0.01)
    landmark_model = PointModel.create(morphable_model)
    pixels = {
        name: faces.landmarks(landmark_model)[..., :2]
        for name, faces in _candidates(point_model, predicted, predicted, points, errors).items()
    }
    pixels["base teacher"] = network[..., :2]
    del pixels["teachers"], pixels["base teacher + annotations"]
    pixels["mean of both"] = (pixels["base teacher"] + pixels["annotations"]) / 2
    yaw = np.array([np.degrees(mat["Pose_Para"][0, 1]) for mat in mats])
    references = (truth, arrays["reannotated68"].astype(np.float64))
    table = {
        name: " | ".join(format_by_yaw(nme(points68, reference, box_size(reference)), yaw) for reference in references)
        for name, points68 in pixels.items()
    }
    return {**table, "faces": str(len(mats))}


def _read_mat(path: Path) -> dict[str, NDArray[np.float64]]:
    """Return the variables of one file of AFLW2000-3D that `measure_aflw2000` needs."""
    with reading(path, ".mat file"):
        return read_mat_numbers(path.read_bytes(), str(path), ("pt2d", "pt3d_68", "Pose_Para"))


def format_by_yaw(error: NDArray[np.floating], yaw: NDArray[np.floating]) -> str:
    """Format errors (N,) as `0-30 / 30-60 / 60-90, mean of the three` by |yaw| (N,) in degrees, leaving out NaN."""
    bins = by_yaw(error, yaw)
    listed = " / ".join("-" if np.isnan(mean) else f"{mean:.2f}" for mean in bins.bins)
    return f"{listed}, mean {np.nanmean(bins.bins):.2f}"


def _candidates(
    model: PointModel,
    base: FaceParameters,
    predicted: FaceParameters,
    points: Tensor,
    calibration: Calibration,
    factors: FusionFactors = DEFAULT_FACTORS,
) -> dict[str, FaceParameters]:
    """Return the faces of each way to make labels from annotations (N, P, 3)."""
    without_bias = replace(Calibration.default(model), mean_coefficients=calibration.mean_coefficients)
    return {
        "base teacher": base,
        "teachers": predicted,
        "annotations, bias ignored": fit_annotations(model, points, without_bias).faces,
        "annotations": fit_annotations(model, points, calibration).faces,
        "base teacher + annotations": fuse(model, base, points, calibration, factors=factors).faces,
        "teachers + annotations": fuse(model, predicted, points, calibration, factors=factors).faces,
    }
