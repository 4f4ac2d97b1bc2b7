"""How good the labels are: `python -m train.labels.report agreement|aflw2000 ...` prints the tables of docs/labels.md.

agreement    AFLW faces with both MERL-RAV's 68 points and AFLW's 21, which other people clicked: label from the 68,
             judge at the 21 (less their systematic offset), a test without anyone's 3D labels
aflw2000     the AFLW2000-3D images at hand: label from AFLW's 21 points in the .mat files, judge by the benchmark's
             own 68 points. For reporting only: nothing is tuned or chosen on it
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.io import loadmat
from torch import Tensor

from bfm_assets import read_model
from synergy.geometry import flip_y
from train.labels.calibration import Calibration, yaw_deg
from train.labels.combine import combine, evidence_only, residuals
from train.labels.evidence import evidence_matrix
from train.labels.fit import Basis, Faces
from train.labels.landmarks3d import fit_landmarks3d
from train.labels.source import open_reader, read_source, read_teacher

_BINS = (0.0, 30.0, 60.0, 100.0)


def candidates(basis: Basis, predicted: Faces, hand: Tensor, calibration: Calibration) -> dict[str, Faces]:
    """The network's faces, the labels', and the combination."""
    unaware = replace(Calibration.guess(basis), coefficients=calibration.coefficients)
    return {
        "network only": predicted,
        "evidence only, no offsets": evidence_only(basis, hand, unaware).faces,
        "evidence only": evidence_only(basis, hand, calibration).faces,
        "combined": combine(basis, predicted, hand, calibration).faces,
    }


def by_bin(error: NDArray[np.floating], yaw: NDArray[np.floating]) -> str:
    """`0-30 / 30-60 / 60-90, mean of the three` of errors (N,) by |yaw|, NaN left out."""
    means = [np.nanmean(error[(np.abs(yaw) > low) & (np.abs(yaw) <= high)]) for low, high in pairwise(_BINS)]
    return " / ".join(f"{mean:.2f}" for mean in means) + f", mean {np.mean(means):.2f}"


def agreement(data: Path, teacher: Path, model: Path, calibration: Path) -> dict[str, str]:
    """Mean distance, % of face size, of AFLW's 21 points to labels made without them."""
    basis = Basis.of(read_model(model), evidence_matrix())
    source = read_source(open_reader(data))
    hand = torch.from_numpy(flip_y(source.hand))
    predicted, learnt = read_teacher(teacher, source, basis), Calibration.load(calibration)
    both = (hand[:, :68, 0].isfinite().sum(-1) > 30) & (hand[:, 68:, 0].isfinite().sum(-1) > 8)
    hand, predicted = hand[both], predicted[both]
    seen, judge = hand.clone(), hand.clone()
    seen[:, 68:], judge[:, :68] = torch.nan, torch.nan
    yaw = yaw_deg(predicted).numpy()
    table = {}
    for name, faces in candidates(basis, predicted, seen, learnt).items():
        distance = residuals(basis, faces, judge, learnt)[0]
        table[name] = by_bin(100 * distance.nanmean(-1).numpy(), yaw)
    table["faces"] = str(int(both.sum()))
    return table


def aflw2000(data: Path, peer: Path, model: Path, calibration: Path) -> dict[str, str]:
    """2D NME, %, of labels from AFLW's 21 points and a network's landmarks: AFLW2000-3D's truth | the reannotated."""
    loaded = read_model(model)
    basis, learnt = Basis.of(loaded, evidence_matrix()), Calibration.load(calibration)
    arrays = np.load(peer)
    mats = [loadmat(data / f"{Path(name).stem}.mat") for name in arrays["names"].tolist()]
    truth = np.stack([mat["pt3d_68"].T[:, :2] - 1 for mat in mats])
    points = np.stack([mat["pt2d"].T.astype(float) for mat in mats])
    points[(points < 0).any(-1)] = np.nan
    hand = torch.full((len(mats), basis.mean.shape[0], 3), torch.nan, dtype=torch.float64)
    hand[:, 68:, :2] = torch.from_numpy((points - 1) * [1, -1])
    network = arrays["landmarks68"].astype(np.float64)
    landmark_basis = Basis.of(loaded)
    predicted = fit_landmarks3d(landmark_basis, network)
    yaw = np.array([np.degrees(mat["Pose_Para"][0, 1]) for mat in mats])
    size = np.sqrt(np.ptp(truth, axis=1).prod(-1))
    found = candidates(basis, predicted, hand, learnt)
    flat = {name: faces.points(landmark_basis).numpy()[..., :2] * [1, -1] for name, faces in found.items()}
    flat["network only"] = network[..., :2]
    flat["plain average"] = (flat["network only"] + flat["evidence only"]) / 2
    reannotated = arrays["reannotated68"].astype(np.float64)

    def scored(pixels: NDArray[np.floating]) -> str:
        errors = (100 * np.linalg.norm(pixels - true, axis=-1).mean(1) / size for true in (truth, reannotated))
        return " | ".join(by_bin(error, yaw) for error in errors)

    return {**{name: scored(pixels) for name, pixels in flat.items()}, "faces": str(len(mats))}


def main() -> None:
    """Print one table."""
    tables: dict[str, Callable[[Path, Path, Path, Path], dict[str, str]]] = {
        "agreement": agreement,
        "aflw2000": aflw2000,
    }
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", choices=tables)
    parser.add_argument("--data", type=Path, required=True, help="AFLW archive, or AFLW2000-3D's folder")
    parser.add_argument("--network", type=Path, required=True, help="predictions: teacher file, or landmarks file")
    parser.add_argument("--model", type=Path, required=True, help="morphable model of the predictions")
    parser.add_argument("--calibration", type=Path, required=True, help="calibration.npz of the AFLW training pack")
    arguments = parser.parse_args()
    for name, line in tables[arguments.table](
        arguments.data, arguments.network, arguments.model, arguments.calibration
    ).items():
        print(f"{name:28} {line}")


if __name__ == "__main__":
    main()
