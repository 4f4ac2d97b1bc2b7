"""How well the open face explains faces of other models and annotated ones: `synergy assets report`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from bfm_assets import MorphableModel, read_bfm68, read_ict
from bfm_assets.fit import LandmarkFitResult, fit_landmarks_2d, fit_landmarks_3d, similarity
from eval.metrics import box_size
from synergy.data import PtsReader
from synergy.landmarks import INNER51
from train.open_face.arrays import Floats

SAMPLES = 500
DEPTH_POINTS = {"nose tip": [30], "chin": [8], "brows": list(range(17, 27)), "eye corners": [36, 39, 42, 45]}
NEAR_FRONTAL_DEG = 15.0
ACTIVE_PROBABILITY = 0.15


def report(
    model: MorphableModel, ict: Path | None = None, bfm68: Path | None = None, helen: Path | None = None
) -> Iterator[str]:
    """Measure a model against the given data.

    Args:
        model: the open face, or any other model.
        ict: the packed ICT-FaceKit model.
        bfm68: the 68-point basis of the Basel Face Model.
        helen: a folder, tar or zip of images with `.pts` files.

    Yields:
        Lines of text. Residuals are mean distances in percent of the square root of width times height of the box
        around the landmarks.
    """
    others = [read_ict(ict)] if ict else []
    others += [read_bfm68(bfm68)] if bfm68 else []
    for other in others:
        fit = fit_landmarks_3d(model, random_faces(other, SAMPLES))
        yield f"{other.name}, {SAMPLES} random faces: {_deciles(fit.residual)}"
        yield f"  {other.name}'s mean looks up by {pitch_of(model, other):+.2f} degrees against this model's axes"
        yield from _depths(model, other.name, random_faces(other, SAMPLES, expressive=False))
    if helen:
        labels = np.stack([s.landmarks68[:, :2] for s in PtsReader(helen).samples(image=False)]).astype(np.float64)
        labels *= [1, -1]
        fit = fit_landmarks_2d(model, labels[:, INNER51], np.asarray(INNER51))
        frontal = np.abs(yaw_degrees(fit)) < NEAR_FRONTAL_DEG
        size = box_size(labels)[frontal] / box_size(labels[:, INNER51])[frontal]
        yield f"{helen.name}, {frontal.sum()} near-frontal of {len(labels)}, inner 51 annotations (2D):"
        yield f"  of the inner box:    {_deciles(fit.residual[frontal])}"
        yield f"  of the 68-point box: {_deciles(fit.residual[frontal] / size)}"


def random_faces(model: MorphableModel, count: int, expressive: bool = True) -> Floats:
    """Draw landmarks (N, 68, 3) in mm of random people of a model, with random expressions or none.

    Identities follow the model's prior, and so do expressions of principal components. Of named expressions, whose
    coefficients are weights from 0 to 1, each is active with the probability `ACTIVE_PROBABILITY`, and uniform then.
    """
    rng = np.random.default_rng(1)
    shape = rng.normal(size=(count, model.n_shape)) * model.shape_std
    if model.expression_names:
        weights = rng.uniform(size=(count, model.n_expression))
        expression = weights * (rng.uniform(size=weights.shape) < ACTIVE_PROBABILITY)
    else:
        expression = rng.normal(size=(count, model.n_expression)) * model.expression_std
    points = model.landmark_model().vertices(shape, expression if expressive else 0 * expression)
    return points.astype(np.float64) * model.mm_per_unit


def pitch_of(model: MorphableModel, other: MorphableModel) -> float:
    """Return the angle in degrees by which the mean face of another model looks up relative to this model's.

    The two are aligned by their inner 51 landmarks. The contours differ by up to 30 mm near the ears, which would tilt
    the faces against each other.
    """
    own, their = (m.mean[m.landmarks].astype(np.float64)[None, INNER51] for m in (model, other))
    _, rotation, _ = similarity(own, their)
    return float(np.degrees(np.arctan2(-rotation[0, 2, 1], rotation[0, 1, 1])))


def yaw_degrees(fit: LandmarkFitResult) -> Floats:
    """Return the angle (N,) between each fitted face's forward axis and the camera's, in the horizontal plane."""
    return np.asarray(np.degrees(np.arctan2(fit.rotation[:, 0, 2], fit.rotation[:, 2, 2])))


def depth_profile(points: Floats) -> Floats:
    """Return how many mm the `DEPTH_POINTS` of aligned landmarks (N, 68, 3) are in front of the inner ones, (N, 4)."""
    depth = points[..., 2] - points[:, INNER51, 2].mean(1, keepdims=True)
    return np.stack([depth[:, at].mean(1) for at in DEPTH_POINTS.values()], 1)


def aligned(points: Floats, reference: Floats) -> Floats:
    """Return landmarks (N, 68, 3) after the similarity that brings their inner points closest to those of (68, 3)."""
    target = np.broadcast_to(reference[INNER51], (len(points), len(reference[INNER51]), 3))
    scale, rotation, translation = similarity(points[:, INNER51], target)
    return np.asarray(scale[:, None, None] * points @ np.swapaxes(rotation, 1, 2) + translation[:, None])


def _depths(model: MorphableModel, name: str, neutral: Floats) -> Iterator[str]:
    """Compare the mean face's depths with those of neutral faces (N, 68, 3) in mm of another model."""
    own = model.mean[model.landmarks].astype(np.float64) * model.mm_per_unit
    theirs = depth_profile(aligned(neutral, own))
    for feature, ours, mean, std in zip(
        DEPTH_POINTS, depth_profile(own[None])[0], theirs.mean(0), theirs.std(0), strict=True
    ):
        yield f"  depth of {feature:11s} {ours:6.1f} mm, {name} {mean:6.1f} +- {std:.1f} mm"


def _deciles(values: Floats) -> str:
    """Format the mean and each 10th percentile as one line."""
    return f"mean {values.mean():.2f} %  deciles " + " ".join(
        f"{v:.2f}" for v in np.percentile(values, range(10, 101, 10))
    )
