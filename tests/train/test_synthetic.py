"""Rendered faces: exact labels, the crop's convention, repeatable by number."""

from __future__ import annotations

import numpy as np
import torch

from bfm_assets import open_face
from synergy.crop import landmark_box, square_crop
from synergy.geometry import decompose_pose, matrix_to_euler
from synergy.models import SynergyNet
from train.synthetic import SyntheticSet, render_face


def test_parameters_project_to_the_landmarks() -> None:
    model = open_face()
    faces = [render_face(model, np.random.default_rng(i)) for i in range(4)]
    params = torch.from_numpy(np.stack([face.params for face in faces]))
    landmarks = np.stack([face.landmarks68 for face in faces])
    projected = SynergyNet(model, width=0.25).eval().project(params)
    assert np.abs(projected.numpy() - landmarks).max() < 0.01
    # The translation along z is that of labels of photos: the model's landmarks have a mean depth of zero.
    depth = SynergyNet(model, width=0.25).face_model.landmarks(params)
    scale, rotation, translation = decompose_pose(params[:, :12])
    z = scale[:, None] * (depth @ rotation.mT)[..., 2] + translation[:, 2:]
    assert z.mean(1).abs().max() < 0.01
    angles = torch.rad2deg(matrix_to_euler(decompose_pose(params[:, :12])[1]))
    np.testing.assert_allclose(angles, np.stack([face.pose_deg for face in faces]), atol=1e-3)


def test_the_picture_is_the_landmarks_crop() -> None:
    face = render_face(open_face(), np.random.default_rng(0))
    assert face.image.shape == (120, 120, 3)
    np.testing.assert_allclose(square_crop(landmark_box(face.landmarks68), 120), [[1, 0, 0], [0, 1, 0]], atol=1e-3)


def test_visibility_follows_the_yaw() -> None:
    model = open_face()
    for i in range(20):
        face = render_face(model, np.random.default_rng(i))
        yaw = face.pose_deg[1]
        if abs(yaw) > 60:
            # The nose turns to the image's left for positive yaw: the eye on the left of the image is hidden.
            hidden, shown = (slice(36, 42), slice(42, 48)) if yaw > 0 else (slice(42, 48), slice(36, 42))
            assert (face.visibility68[hidden] == 0).sum() > (face.visibility68[shown] == 0).sum()


def test_face_number_i_is_always_the_same() -> None:
    a, b = (SyntheticSet(open_face(), 3, 10, keep)[[5, 1]] for keep in (False, True))
    assert torch.equal(a.image, b.image)
    assert torch.equal(a.params, b.params)
    assert not torch.equal(a.image[0], a.image[1])
