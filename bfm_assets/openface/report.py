"""How well the open face explains other models' faces and hand-labelled ones.

`python -m bfm_assets.openface.report --ict ict_facekit.npz --bfm68 bfm68_basis.npz --helen helen_test.tar`
"""

from __future__ import annotations

import argparse
import tarfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bfm_assets.bfm68 import read_bfm68
from bfm_assets.fit import LandmarkFit, face_size, fit_landmarks_2d, fit_landmarks_3d, similarity
from bfm_assets.ict import read_ict
from bfm_assets.openface.proportions import MEASUREMENTS, measure
from bfm_assets.schema import MorphableModel

Array = NDArray[np.float64]

SAMPLES = 500
INNER = np.arange(17, 68)
DEPTH_POINTS = {"nose tip": [30], "chin": [8], "brows": list(range(17, 27)), "eye corners": [36, 39, 42, 45]}
NEAR_FRONTAL_DEGREES = 15.0


def random_faces(model: MorphableModel, count: int, expressive: bool = True) -> Array:
    """Landmarks (N, 68, 3) in mm of random people of a model, with random expressions or none.

    Identities follow the model's prior, and so do expressions of principal components. Of named expressions, whose
    coefficients are strengths from 0 to 1, each is active with probability 0.15 and uniform.
    """
    rng = np.random.default_rng(1)
    who = rng.normal(size=(count, model.n_shape)) * model.shape_std
    if model.expression_names:
        strength = rng.uniform(size=(count, model.n_expression))
        how = strength * (rng.uniform(size=strength.shape) < 0.15)
    else:
        how = rng.normal(size=(count, model.n_expression)) * model.expression_std
    points = model.landmark_model().vertices(who, how if expressive else 0 * how)
    return points.astype(np.float64) * model.mm_per_unit


def read_pts(text: str) -> Array:
    """The points (68, 2) of a 300-W `.pts` file, 0-based, y down."""
    body = text[text.index("{") + 1 : text.index("}")]
    return np.array(body.split(), np.float64).reshape(-1, 2) - 1


def helen_landmarks(path: Path) -> Array:
    """All hand labels (N, 68, 2) of a tar of `.pts` files, y turned up."""
    with tarfile.open(path) as tar:
        members = sorted((m for m in tar.getmembers() if m.name.endswith(".pts")), key=lambda m: m.name)
        files = [tar.extractfile(m) for m in members]
        return np.stack([read_pts(f.read().decode()) for f in files if f is not None]) * [1, -1]


def yaw_degrees(fit: LandmarkFit) -> Array:
    """The angle (N,) between each fitted face's forward axis and the camera's, in the horizontal plane."""
    return np.degrees(np.arctan2(fit.rotation[:, 0, 2], fit.rotation[:, 2, 2]))


def deciles(values: Array) -> str:
    """Mean and each 10th percentile as one line."""
    return f"mean {values.mean():.2f} %  deciles " + " ".join(
        f"{v:.2f}" for v in np.percentile(values, range(10, 101, 10))
    )


def depth_profile(points: Array) -> Array:
    """Depth (N, 4) of the features in mm before the mean of the inner points, of aligned landmarks (N, 68, 3)."""
    depth = points[..., 2] - points[:, INNER, 2].mean(1, keepdims=True)
    return np.stack([depth[:, at].mean(1) for at in DEPTH_POINTS.values()], 1)


def aligned(points: Array, reference: Array) -> Array:
    """Landmarks (N, 68, 3) under the similarity that brings their inner points closest to the reference's (68, 3)."""
    target = np.broadcast_to(reference[INNER], (len(points), len(INNER), 3))
    scale, rotation, translation = similarity(points[:, INNER], target)
    return np.asarray(scale[:, None, None] * points @ np.swapaxes(rotation, 1, 2) + translation[:, None])


def print_depths(model: MorphableModel, name: str, neutral: Array) -> None:
    """Compare the open mean face's depths with those of neutral faces (N, 68, 3) in mm of a scan-based model.

    Aligned by the inner points alone: the models disagree by up to 30 mm on the depth of the jaw line near the ears,
    which would tilt the faces against each other.
    """
    own = model.mean[model.landmarks].astype(np.float64) * model.mm_per_unit
    theirs = depth_profile(aligned(neutral, own))
    for feature, ours, mean, std in zip(
        DEPTH_POINTS, depth_profile(own[None])[0], theirs.mean(0), theirs.std(0), strict=True
    ):
        apart = (ours - mean) / std
        print(f"  depth of {feature:11s} {ours:6.1f} mm, {name} {mean:6.1f} +- {std:.1f} mm ({apart:+.2f} sd)")


def print_measurements(model: MorphableModel) -> None:
    """Compare the model's measurements, at the mean and over random people, with the published ones."""
    who = np.random.default_rng(3).normal(size=(SAMPLES, model.n_shape)) * model.shape_std
    mean, people = measure(model, model.mean), measure(model, model.vertices(who, np.zeros(1)))
    for name, published in MEASUREMENTS.items():
        print(
            f"  {name:34s} {mean[name]:6.1f} +- {people[name].std():4.1f} mm, "
            f"published {published.mean:6.1f} +- {published.std:4.1f} mm ({published.source})"
        )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bfm_assets.openface.report")
    parser.add_argument("--model", type=Path, default=Path(__file__).parents[1] / "data" / "open_face.npz")
    parser.add_argument("--ict", type=Path)
    parser.add_argument("--bfm68", type=Path)
    parser.add_argument("--helen", type=Path)
    args = parser.parse_args()
    model = MorphableModel.load(args.model)
    print("Measurements of the mean face, and their spread over random people:")
    print_measurements(model)
    others = [read_ict(args.ict)] if args.ict else []
    others += [read_bfm68(args.bfm68)] if args.bfm68 else []
    for other in others:
        fit = fit_landmarks_3d(model, random_faces(other, SAMPLES))
        print(f"{other.name}, {SAMPLES} random faces: {deciles(fit.residual)}")
        print_depths(model, other.name, random_faces(other, SAMPLES, expressive=False))
    if args.helen:
        labels = helen_landmarks(args.helen)
        fit = fit_landmarks_2d(model, labels[:, INNER], INNER)
        frontal = np.abs(yaw_degrees(fit)) < NEAR_FRONTAL_DEGREES
        size = face_size(labels)[frontal] / face_size(labels[:, INNER])[frontal]
        print(f"HELEN test, {frontal.sum()} near-frontal of {len(labels)}, inner 51 hand labels (2D):")
        print(f"  of the inner box:   {deciles(fit.residual[frontal])}")
        print(f"  of the 68-point box: {deciles(fit.residual[frontal] / size)}")


if __name__ == "__main__":
    main()
