"""The numbers the open face has to reach against scan-based models and hand labels; needs ../shared."""

from pathlib import Path

import numpy as np
import pytest

from bfm_assets import read_bfm68, read_ict
from bfm_assets.fit import fit_landmarks_2d, fit_landmarks_3d
from bfm_assets.openface import report
from bfm_assets.schema import MorphableModel

MODEL = MorphableModel.load(Path(report.__file__).parents[1] / "data" / "open_face.npz")


def test_read_pts() -> None:
    points = report.read_pts("version: 1\nn_points: 2\n{\n1.0 2.5\n3 4\n}\n")
    assert points.tolist() == [[0, 1.5], [2, 3]]


@pytest.fixture(scope="module", params=["ict_facekit", "bfm68_basis"])
def scanned(request: pytest.FixtureRequest) -> MorphableModel:
    path = Path(__file__).parents[3] / "shared" / "data" / f"{request.param}.npz"
    if not path.is_file():
        pytest.skip("needs the real data beside the project (../shared/data)")
    return read_ict(path) if request.param == "ict_facekit" else read_bfm68(path)


def test_explains_random_faces(scanned: MorphableModel) -> None:
    assert fit_landmarks_3d(MODEL, report.random_faces(scanned, 100)).residual.mean() < 1.5


def test_depths_lie_within_a_standard_deviation(scanned: MorphableModel) -> None:
    own = MODEL.mean[MODEL.landmarks].astype(np.float64)
    theirs = report.depth_profile(report.aligned(report.random_faces(scanned, report.SAMPLES, expressive=False), own))
    assert (np.abs(report.depth_profile(own[None])[0] - theirs.mean(0)) < theirs.std(0)).all()


def test_explains_hand_labels(shared_data: Path) -> None:
    labels = report.helen_landmarks(shared_data / "helen_test.tar")
    assert labels.shape == (330, 68, 2)
    fit = fit_landmarks_2d(MODEL, labels[:, report.INNER], report.INNER)
    frontal = np.abs(report.yaw_degrees(fit)) < report.NEAR_FRONTAL_DEGREES
    assert frontal.sum() > 150
    assert fit.residual[frontal].mean() < 2
