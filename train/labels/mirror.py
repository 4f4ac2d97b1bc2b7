"""Mirrored copies of pack rows: the image flipped, left and right points exchanged."""

from __future__ import annotations

from typing import Any

import numpy as np

from synergy.landmarks import FLIP68
from train.labels.fit import Basis
from train.labels.landmarks3d import fit_landmarks3d
from train.labels.pack import CROP_SIZE, Row

# AFLW's 21 points: the partner of each across the face.
FLIP21 = np.array([5, 4, 3, 2, 1, 0, 11, 10, 9, 8, 7, 6, 16, 15, 14, 13, 12, 19, 18, 17, 20])


def mirror_rows(rows: list[Row], basis: Basis) -> list[Row]:
    """Mirrored copies of rows. Landmarks, points and angles mirror exactly; a model's coefficients need not (its modes
    are not symmetric), so `params` are fitted to the mirrored landmarks with the model's 68-point `basis`."""
    mirrored = [_mirrored(row) for row in rows]
    faces = fit_landmarks3d(basis, np.stack([row["landmarks68"] for row in mirrored]))
    for row, params in zip(mirrored, faces.parameters(basis, float(CROP_SIZE)).numpy(), strict=True):
        row["params"] = params
    return mirrored


def _mirrored(row: Row) -> Row:
    def flip(points: Any, order: Any) -> Any:
        out = np.array(points, np.float64)[order]
        out[:, 0] = CROP_SIZE - 1 - out[:, 0]
        return out

    return {
        **row,
        "image": np.ascontiguousarray(row["image"][:, ::-1]),
        "names": f"{row['names']}#mirror",
        "sources": f"{row['sources']}+mirror",
        "landmarks68": flip(row["landmarks68"], FLIP68),
        "visibility68": np.asarray(row["visibility68"])[FLIP68],
        "pose_deg": np.asarray(row["pose_deg"]) * [1, -1, -1],
        "hand68": flip(row["hand68"], FLIP68),
        "points21": flip(row["points21"], FLIP21),
        "crop": np.full(3, np.nan),
    }
