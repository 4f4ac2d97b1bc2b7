"""A world without a network: people at known places, and a predictor that sees them as they are."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from synergy.crop import landmark_box
from synergy.demo import random_face
from synergy.faces import Faces
from synergy.geometry import flip_y
from synergy.parameters import translate
from synergy.predictor import FaceLocations
from synergy.tracking.matching import overlap

WIDTH, HEIGHT = 640, 360


def move(face, x, y):
    """Move a face by pixels."""
    return replace(
        face,
        box=face.box + np.array([x, y, x, y], np.float32),
        landmarks68=face.landmarks68 + np.array([x, y, 0], np.float32),
        params=translate(face.params, *flip_y(np.array([x, y], np.float32))).astype(np.float32),
    )


@dataclass
class Person:
    """A face, and its centre in pixels as a function of time; None while it is out of the picture."""

    face: object
    path: object
    colour: tuple = (200, 150, 120)

    def at(self, seconds):
        place = self.path(seconds)
        if place is None:
            return None
        return move(self.face, *(np.asarray(place) - self.face.landmarks68[:, :2].mean(0)))


class World:
    """People of whom the first are in front of the others. It acts as a `FacePredictor`."""

    def __init__(self, people, noise=0.0, seed=0):
        self.people, self.noise = people, noise
        self.rng = np.random.default_rng(seed)
        self.min_confidence = 0.5
        self.change = self.change_detected = lambda face: face
        self.n_detections = 0
        self.visible = []

    def frame(self, seconds):
        """Set the time and return the picture: each face is a rectangle of its own colours."""
        faces = [person.at(seconds) for person in self.people]
        self.visible = []
        for i, face in enumerate(faces):
            in_front = [one for one in faces[:i] if one is not None]
            if face is not None and not 0 < face.landmarks68[:, 0].mean() < WIDTH:
                continue
            if face is None or any(_overlap(face, one) > 0.3 for one in in_front):
                continue
            self.visible.append(face)
        image = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
        for person, face in reversed(list(zip(self.people, faces, strict=True))):
            if face is not None:
                x0, y0, x1, y1 = landmark_box(face.landmarks68).round().astype(int).clip(0)
                image[y0:y1, x0:x1] = person.colour
                image[y0 : (y0 + y1) // 2, x0:x1] //= 2
        return image

    def __call__(self, image, landmarks):
        return Faces(self.change(self._look(box)) for box in landmark_box(landmarks))

    def detect(self, image):
        self.n_detections += 1
        boxes = np.array([landmark_box(face.landmarks68) for face in self.visible], np.float32).reshape(-1, 4)
        return FaceLocations(boxes, np.full(len(boxes), 0.9, np.float32), boxes, np.zeros((len(boxes), 5, 2)))

    def predict_located(self, images, found):
        return [
            Faces(replace(self.change_detected(self._look(box)), score=0.9) for box in one.crop_boxes) for one in found
        ]

    def _look(self, box):
        """Return the visible face nearest to a box, or else a face that the network sees in the background."""
        centre = (box[:2] + box[2:]) / 2
        near = [face for face in self.visible if np.abs(face.landmarks68[:, :2].mean(0) - centre).max() < 60]
        if not near:
            face = move(random_face((0, 0, 0), seed=9), 0, 0)
            return move(face, *(centre - face.landmarks68[:, :2].mean(0)))
        face = min(near, key=lambda face: np.linalg.norm(face.landmarks68[:, :2].mean(0) - centre))
        return move(face, *self.rng.normal(0, self.noise, 2))


def _overlap(a, b):
    return overlap(landmark_box(a.landmarks68), landmark_box(b.landmarks68))[0, 0]


@pytest.fixture
def person():
    """Make a person of a seed, a path and a colour."""

    def make(seed, path, colour=(200, 150, 120)):
        return Person(random_face((0, 10, 0), seed=seed), path, colour)

    return make


@pytest.fixture
def make_world():
    """Make a world of people."""
    return World
