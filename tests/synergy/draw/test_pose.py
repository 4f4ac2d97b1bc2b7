import dataclasses

import numpy as np
import torch

from synergy.draw import draw_axes, draw_pose_box
from synergy.geometry import euler_to_matrix


def test_axes_point_where_the_head_points(face, grey):
    origin = np.array([128.0, 128.0])
    # Nose to the image's left and up: the blue axis ends there.
    angles = torch.deg2rad(torch.tensor([20.0, 45.0, 0.0]))
    pose = dataclasses.replace(face.pose, matrix=euler_to_matrix(angles).numpy())
    picture = draw_axes(grey, pose, origin, length=80).astype(int)
    blue = (picture[..., 2] - picture[..., 0]) > 60
    y, x = np.nonzero(blue)
    assert x.min() < 128 - 50
    assert y.min() < 128 - 15
    green = (picture[..., 1] - picture[..., 2]) > 60
    assert np.nonzero(green)[0].min() < 128 - 60


def test_the_pose_box_of_a_frontal_face_is_two_squares(face, grey):
    frontal = dataclasses.replace(face.pose, matrix=torch.eye(3).numpy())
    _, x = np.nonzero((draw_pose_box(grey, frontal, face.landmarks68) != grey).any(-1))
    centre = face.landmarks68[:, :2].mean(0)
    half = np.ptp(face.landmarks68[:, :2], axis=0).max() * 0.6
    # Half of the front's stroke, and a pixel of antialiasing on either side.
    stroke = max(2, round(half / 30)) / 2 + 2
    expected = np.clip(centre[0] + half * np.array([-1, 1]), 0, 255)
    np.testing.assert_allclose([x.min(), x.max()], expected, atol=stroke)
