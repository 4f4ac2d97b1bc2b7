import dataclasses

import numpy as np
import pytest

from synergy.demo import random_face


@pytest.fixture(scope="session")
def grey():
    """A uniform image."""
    image = np.full((256, 256, 3), 90, np.uint8)
    image.setflags(write=False)
    return image


@pytest.fixture(scope="session")
def face():
    return random_face((5, 20, 0), seed=1)


@pytest.fixture
def placed():
    """Move a face to a place in an image; see `_placed`."""
    return _placed


def _placed(face, height, centre):
    """The face in an image where its landmarks are `height` pixels high around a centre."""
    scale = np.ptp(face.landmarks68[:, 1]) / height
    middle = face.landmarks68[:, :2].mean(0)
    crop = np.array([[scale, 0, middle[0] - scale * centre[0]], [0, scale, middle[1] - scale * centre[1]]])
    pose = dataclasses.replace(face.pose, scale=face.pose.scale / scale)
    moved = dataclasses.replace(face, crop=crop, pose=pose)
    return dataclasses.replace(moved, landmarks68=moved.vertices()[face.morphable_model.landmarks])
