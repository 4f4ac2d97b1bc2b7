"""Fits of a model to its own landmarks are exact in any pose."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from bfm_assets import MorphableModel, open_face
from bfm_assets.fit import fit_landmarks_2d, fit_landmarks_3d, orthographic, similarity


@pytest.fixture(scope="module")
def model() -> MorphableModel:
    return open_face().landmark_model()


def people(model: MorphableModel, count: int) -> NDArray[np.float64]:
    """Landmarks (N, 68, 3) of random faces with a little expression."""
    rng = np.random.default_rng(4)
    who = rng.normal(size=(count, model.n_shape)) * model.shape_std
    how = rng.uniform(size=(count, model.n_expression)) * 0.4
    return model.vertices(who, how).astype(np.float64)


def test_similarity_is_found_exactly() -> None:
    rng = np.random.default_rng(0)
    points = rng.normal(size=(5, 68, 3))
    turn = Rotation.random(5, random_state=1).as_matrix()
    grow, shift = rng.uniform(0.1, 9, 5), rng.normal(size=(5, 3))
    moved = grow[:, None, None] * points @ turn.swapaxes(1, 2) + shift[:, None]
    scale, rotation, translation = similarity(points, moved)
    assert np.allclose(scale, grow)
    assert np.allclose(rotation, turn)
    assert np.allclose(translation, shift)


def test_similarity_never_mirrors() -> None:
    points = np.random.default_rng(0).normal(size=(3, 68, 3))
    _, rotation, _ = similarity(points, points * [-1, 1, 1])
    assert np.allclose(np.linalg.det(rotation), 1)


def test_orthographic_camera_is_found_exactly() -> None:
    rng = np.random.default_rng(0)
    points = rng.normal(size=(5, 68, 3))
    turn = Rotation.random(5, random_state=1).as_matrix()
    image = 3 * np.einsum("nij,nkj->nki", turn[:, :2], points) + 7
    scale, rotation, translation = orthographic(points, image)
    assert np.allclose(scale, 3)
    assert np.allclose(rotation, turn)
    assert np.allclose(translation, 7)


def test_3d_fit_finds_its_own_faces_in_any_pose(model: MorphableModel) -> None:
    faces = people(model, 20)
    turn = Rotation.random(20, random_state=2).as_matrix()
    fit = fit_landmarks_3d(model, 0.01 * faces @ turn.swapaxes(1, 2) + 5, noise_mm=0.05)
    assert fit.residual.max() < 0.05
    assert fit.points.shape == (20, 68, 3)
    assert np.allclose(fit.scale, 0.01, rtol=0.3)  # size is a shape mode too
    rebuilt = model.vertices(fit.shape, fit.expression)
    posed = fit.scale[:, None, None] * rebuilt @ fit.rotation.swapaxes(1, 2) + fit.translation[:, None]
    assert np.abs(posed - fit.points).max() < 1e-4


def test_2d_fit_explains_its_own_faces(model: MorphableModel) -> None:
    faces = people(model, 20)
    turn = Rotation.from_euler("y", np.linspace(-40, 40, 20)[:, None], degrees=True).as_matrix()
    inner = np.arange(17, 68)
    image = 2 * np.einsum("nij,nkj->nki", turn[:, :2], faces)[:, inner]
    fit = fit_landmarks_2d(model, image, inner, noise_mm=0.2)
    assert fit.residual.max() < 0.3
    angle = np.degrees(np.arctan2(fit.rotation[:, 0, 2], fit.rotation[:, 2, 2]))
    assert np.abs(angle - np.linspace(-40, 40, 20)).max() < 8


def test_stronger_prior_stays_nearer_to_the_mean(model: MorphableModel) -> None:
    faces = people(model, 10)
    loose, strict = (fit_landmarks_3d(model, faces, noise_mm=n) for n in (0.3, 10.0))
    assert (np.abs(strict.shape) / model.shape_std).mean() < (np.abs(loose.shape) / model.shape_std).mean()
    assert strict.residual.mean() > loose.residual.mean()


def test_residuals_are_relative_to_the_box_of_the_target(model: MorphableModel) -> None:
    faces = people(model, 3) + np.random.default_rng(0).normal(0, 3, (3, 68, 3))
    fit = fit_landmarks_3d(model, faces, iterations=2)
    width, height = faces[..., 0].max(1) - faces[..., 0].min(1), faces[..., 1].max(1) - faces[..., 1].min(1)
    distance = np.linalg.norm(fit.points - faces, axis=2).mean(1)
    assert fit.residual == pytest.approx(100 * distance / np.sqrt(width * height))


@pytest.mark.parametrize(
    ("landmarks", "message"),
    [(np.zeros((68, 3)), "must be"), (np.zeros((1, 68, 2)), "must be"), (np.full((1, 68, 3), np.nan), "finite")],
)
def test_wrong_landmarks_are_refused(model: MorphableModel, landmarks: NDArray[np.float64], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fit_landmarks_3d(model, landmarks)
