"""Small data sets of each layout, written from known numbers."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.io import savemat

Mat = dict[str, np.ndarray]


@pytest.fixture
def points68() -> np.ndarray:
    """68 points (68, 2) about the middle of a 64 x 64 image, the right eye left of the left one, the chin below."""
    points = np.random.default_rng(0).uniform(24, 40, (68, 2))
    points[[36, 45, 8]] = [[22, 25], [42, 26], [32, 45]]
    return points


@pytest.fixture
def write_image() -> Callable[..., None]:
    def write(path: Path, height: int = 64, width: int = 64) -> None:
        image = np.full((height, width, 3), (0, 0, 255), np.uint8)  # BGR: red
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), image)

    return write


@pytest.fixture
def fitted_mat() -> Mat:
    """The variables of a `.mat` with a known pose and no shape or expression."""
    return {
        "Pose_Para": np.array([[0.1, -0.2, 0.3, 200.0, 250.0, -90.0, 1.5e-3]], np.float32),
        "Shape_Para": np.zeros((199, 1)),
        "Exp_Para": np.zeros((29, 1)),
    }


@pytest.fixture
def write_pair(write_image: Callable[..., None], fitted_mat: Mat) -> Callable[..., None]:
    """Writes STEM.jpg and STEM.mat; keyword arguments add or replace variables, None drops one."""

    def write(stem: Path, **variables: np.ndarray | None) -> None:
        write_image(stem.with_suffix(".jpg"))
        mat = {key: value for key, value in {**fitted_mat, **variables}.items() if value is not None}
        savemat(stem.with_suffix(".mat"), mat)

    return write
