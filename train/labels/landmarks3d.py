"""Parameters of any morphable model for given 3D landmarks, and their whitening statistics."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from bfm_assets.schema import MorphableModel
from synergy.geometry import flip_y
from synergy.parameters import measure_whitening
from train.labels.fit import Basis, Faces, Fit, aligned_faces, coefficient_prior, solve
from train.labels.pack import CROP_SIZE, Pack, write_manifest

Floats = NDArray[np.floating]

# Scatter, in face sizes, of 68 points about a model that cannot show every face.
_TOLERANCE = 0.01
_CHUNK = 512


def fit_landmarks3d(basis: Basis, landmarks: Floats) -> Faces:
    """Faces (image frame, y up) of a 68-point basis for landmarks (N, 68, 3), image pixels, y down, larger z nearer."""
    points = torch.from_numpy(flip_y(np.asarray(landmarks, np.float64)))
    start = aligned_faces(basis, points)
    precision = (torch.eye(3, dtype=torch.float64) / _TOLERANCE**2).expand(*points.shape, 3)
    precision = precision * (-2 * start.log_scale).exp()[:, None, None, None]
    chunks = [slice(at, at + _CHUNK) for at in range(0, len(points), _CHUNK)]
    return Fit.joined(
        [
            solve(basis, points[some], precision[some], start[some], coefficient_prior(start[some]), cutoff=10.0)
            for some in chunks
        ]
    ).faces


def add_model(path: str | Path, model: MorphableModel) -> dict[str, object]:
    """Write `params-NAME.npy`, the parameters of `model` for a pack's landmarks, and its statistics to the manifest.

    Returns the statistics: digest, median and 95 % residual (3D, % of face size), whitening mean and std.
    """
    pack = Pack.open(path)
    landmarks = np.asarray(pack.landmarks68)
    basis = Basis.of(model)
    faces = fit_landmarks3d(basis, landmarks)
    fitted = flip_y(faces.points(basis)).numpy()
    size = np.sqrt(np.ptp(landmarks[..., :2], axis=1).prod(-1))
    residual = 100 * np.linalg.norm(fitted - landmarks, axis=-1).mean(1) / size
    params = faces.parameters(basis, float(CROP_SIZE)).numpy().astype(np.float32)
    whitening = measure_whitening(params, np.asarray(pack.weight))
    trusted = residual[np.asarray(pack.weight) >= 0.05]
    statistics: dict[str, object] = {
        "digest": model.digest,
        "n_shape": model.n_shape,
        "n_expression": model.n_expression,
        "residual_median_percent": round(float(np.median(trusted)), 3),
        "residual_95_percent": round(float(np.percentile(trusted, 95)), 3),
        "mean": whitening.mean.tolist(),
        "std": whitening.std.tolist(),
    }
    name = f"params-{model.name}"
    np.save(pack.path / f"{name}.npy", params)
    manifest = json.loads((pack.path / "manifest.json").read_text())
    arrays = sorted({*manifest.pop("arrays"), name})
    manifest.setdefault("models", {})[model.name] = statistics
    write_manifest(pack.path, manifest, arrays)
    return statistics
