"""The numbers the open face has to reach against scan-based models and hand labels; needs ../shared."""

from pathlib import Path

import numpy as np

from bfm_assets.fit import fit_landmarks_2d, fit_landmarks_3d
from bfm_assets.openface import report
from bfm_assets.schema import MorphableModel

MODEL = MorphableModel.load(Path(report.__file__).parents[1] / "data" / "open_face.npz")


def test_read_pts() -> None:
    points = report.read_pts("version: 1\nn_points: 2\n{\n1.0 2.5\n3 4\n}\n")
    assert points.tolist() == [[0, 1.5], [2, 3]]


def test_explains_ict_faces(shared_data: Path) -> None:
    assert fit_landmarks_3d(MODEL, report.ict_samples(shared_data / "ict_facekit.npz", 100)).residual.mean() < 1.5


def test_explains_bfm_faces(shared_data: Path) -> None:
    assert fit_landmarks_3d(MODEL, report.bfm_samples(shared_data / "bfm68_basis.npz", 100)).residual.mean() < 1.5


def test_depths_lie_within_both_models(shared_data: Path) -> None:
    own = MODEL.mean[MODEL.landmarks].astype(np.float64)
    ours = report.depth_profile(own[None])[0]
    for neutral in (
        report.ict_samples(shared_data / "ict_facekit.npz", report.SAMPLES, expressive=False),
        report.bfm_samples(shared_data / "bfm68_basis.npz", report.SAMPLES, expressive=False),
    ):
        theirs = report.depth_profile(report.aligned(neutral, own))
        assert (np.abs(ours - theirs.mean(0)) < theirs.std(0)).all()


def test_explains_hand_labels(shared_data: Path) -> None:
    labels = report.helen_landmarks(shared_data / "helen_test.tar")
    assert labels.shape == (330, 68, 2)
    fit = fit_landmarks_2d(MODEL, labels[:, report.INNER], report.INNER)
    frontal = np.abs(report.yaw_degrees(fit)) < report.NEAR_FRONTAL_DEGREES
    assert frontal.sum() > 150
    assert fit.residual[frontal].mean() < 2
