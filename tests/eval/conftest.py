"""Faces of known pose in memory and on disk, and predictions of them."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from scipy.io import savemat

from bfm_assets import open_face
from eval.predictions import Predictions
from synergy.data.sample import FaceSample
from synergy.geometry import euler_to_matrix

YAW = (0, 20, -40, 55, -70, 85)
SIZE = 120


def face(yaw_deg: float) -> np.ndarray:
    """Landmarks (68, 3) of the open face's mean at this yaw, about 60 px wide, in the middle of a 120 px image."""
    model = open_face()
    mean = model.mean[model.landmarks].astype(np.float64)
    rotation = euler_to_matrix(torch.tensor([0.05, np.radians(yaw_deg), 0.1], dtype=torch.float64)).numpy()
    points = (mean - mean.mean(0)) @ rotation.T * (60 / np.ptp(mean[:, 0])) * [1, -1, 1] + [60, 60, 0]
    return points - points.mean(0) * [0, 0, 1]


@pytest.fixture
def samples() -> list[FaceSample]:
    """Six faces, two in each bin of yaw, as the AFLW2000-3D reader yields them."""
    return [
        FaceSample(
            name=f"image{i:05d}.jpg",
            image=np.full((SIZE, SIZE, 3), 90, np.uint8),
            landmarks68=face(yaw).astype(np.float32),
            visibility68=np.full(68, 2, np.int8),
            pose_deg=np.array([np.degrees(0.05), yaw, np.degrees(0.1)], np.float32),
            box=np.array([20, 20, 100, 100], np.float32),
            source="aflw2000-3d",
        )
        for i, yaw in enumerate(YAW)
    ]


@pytest.fixture
def exact(samples: list[FaceSample]) -> Predictions:
    """Predictions that equal the labels as AFLW2000-3D's files state them, one pixel right and down of the samples."""
    return Predictions(
        tuple(sample.name for sample in samples),
        np.stack([sample.landmarks68 + np.float32([1, 1, 0]) for sample in samples]),
        np.stack([sample.pose_deg for sample in samples]),
        "exact",
    )


@pytest.fixture
def aflw2000_folder(tmp_path: Path, samples: list[FaceSample]) -> Path:
    """The samples as AFLW2000-3D's files."""
    folder = tmp_path / "aflw2000"
    folder.mkdir()
    for sample in samples:
        cv2.imwrite(str(folder / sample.name), sample.image)
        pose = [*np.radians(sample.pose_deg), 60, 60, 0, 1e-3]
        mat = {
            "pt3d_68": (sample.landmarks68 + [1, 1, 0]).T,
            "Pose_Para": np.array([pose], np.float32),
            "Shape_Para": np.zeros((199, 1)),
            "Exp_Para": np.zeros((29, 1)),
        }
        savemat(folder / sample.name.replace(".jpg", ".mat"), mat)
    return folder


@pytest.fixture
def pts_folder(tmp_path: Path, samples: list[FaceSample]) -> Path:
    """The samples as 300-W's files."""
    folder = tmp_path / "pts"
    folder.mkdir()
    for sample in samples:
        cv2.imwrite(str(folder / sample.name), sample.image)
        rows = "".join(f"{x + 1:.5f} {y + 1:.5f}\n" for x, y in sample.landmarks68[:, :2])
        text = f"version: 1\nn_points: 68\n{{\n{rows}}}\n"
        (folder / sample.name.replace(".jpg", ".pts")).write_text(text)
    return folder
