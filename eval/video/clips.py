"""Clips with known motion, made from photos and rendered faces."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from synergy.appearance import random_colours, region_colours
from synergy.demo import random_face
from synergy.draw import draw_mesh
from synergy.errors import UserError
from synergy.geometry import euler_to_matrix
from synergy.predictor import FacePredictor

Image = NDArray[np.uint8]
Array = NDArray[np.float64]

RATE = 30
# Standard deviation of the noise of each pixel and channel in grey levels, as of a webcam indoors.
_NOISE = 6.0
# Longer side in pixels of the face in the clips that show one face. Width and height of these clips.
_FACE = 110.0
_SIZE = (480, 360)
# Height in pixels of the landmarks' box of people who cross; width and height of their clips.
_CROSSING_FACE = 80.0
_CROSSING_SIZE = (640, 360)
# Speed in pixels per second, by how many pixels the second person is lower, whether both turn back, and for how many
# seconds they stand still while one covers the other.
_CROSSINGS = (
    (120.0, 0.0, False, 0.0),
    (200.0, 12.0, False, 0.0),
    (320.0, 0.0, False, 0.0),
    (160.0, 0.0, True, 0.0),
    (240.0, 0.0, False, 1.0),
    (240.0, 8.0, True, 1.0),
)
# Distance in pixels of people who turn back from the middle between them, at their turn.
_TURN = 6.0
# A person is in sight if less than this fraction of the face is covered.
_COVERED = 0.3


@dataclass(frozen=True, eq=False)
class ClipFrame:
    """A frame and what is true of it.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        seconds: its time.
        motion: (2, 3) map from the pixels of the clip's still picture to those of the frame; None if there is none.
        rotation: (3, 3) of the head of a rendered face; None for photos.
        centres: (P, 2) centre of each person's face in pixels; NaN while the person is covered.
    """

    image: Image
    seconds: float
    motion: Array | None = None
    rotation: Array | None = None
    centres: Array | None = None


@dataclass(frozen=True, eq=False)
class Clip:
    """A clip whose frames are made when they are asked for.

    Attributes:
        name: what happens in it.
        n_frames: how many frames it has.
        frame: makes the frame of a number.
    """

    name: str
    n_frames: int
    frame: Callable[[int], ClipFrame]

    def __iter__(self) -> Iterator[ClipFrame]:
        return (self.frame(i) for i in range(self.n_frames))


def rendered_photo(seed: int, angles_deg: tuple[float, float, float] = (0, 0, 0)) -> Image:
    """Render a random person of the open face. One seed always gives the same person and expression.

    Args:
        seed: of the person and the expression.
        angles_deg: pitch, yaw and roll in degrees.

    Returns:
        (256, 256, 3) uint8 RGB.
    """
    face = random_face(angles_deg, seed)
    model = face.morphable_model
    colours = region_colours(model, **random_colours(np.random.default_rng(seed)))
    backdrop = np.full((256, 256, 3), [70, 80, 95], np.uint8)
    return draw_mesh(backdrop, face.vertices(), model.triangles, colours)


def motion_clips(photo: Image, predictor: FacePredictor, n_frames: int) -> list[Clip]:
    """Make clips of one face: at rest, and with slow and fast camera moves.

    Args:
        photo: shows at least one face; the first one is in the middle of the clips.
        predictor: finds it.
        n_frames: length of each clip.
    """
    face = predictor(photo)[0]
    x0, y0, x1, y1 = face.landmarks68[:, :2].min(0).tolist() + face.landmarks68[:, :2].max(0).tolist()
    centre, scale = np.array([(x0 + x1) / 2, (y0 + y1) / 2]), _FACE / max(x1 - x0, y1 - y0)

    def moves(name: str, move: Callable[[float], tuple[float, float, float, float]]) -> Clip:
        def frame(i: int) -> ClipFrame:
            seconds = i / RATE
            zoom, roll_deg, right, down = move(seconds)
            motion = _similarity(scale * zoom, roll_deg, centre, np.array(_SIZE) / 2 + [right, down])
            return ClipFrame(_noisy(_warp(photo, motion, _SIZE), i), seconds, motion=motion)

        return Clip(name, n_frames, frame)

    def wave(period: float, seconds: float) -> float:
        return float(np.sin(2 * np.pi * seconds / period))

    return [
        moves("at rest", lambda _: (1, 0, 0, 0)),
        moves("slow pan", lambda t: (1, 0, 25 * wave(3, t), 0)),
        moves("fast pan", lambda t: (1, 0, 90 * wave(1.5, t), 0)),
        moves("zoom", lambda t: (1 + 0.25 * wave(2, t), 0, 0, 0)),
        moves("rotation", lambda t: (1, 20 * wave(2, t), 0, 0)),
    ]


def turning_clip(seed: int, n_frames: int) -> Clip:
    """Make a clip of a rendered head that turns by 30 degrees to both sides."""

    def frame(i: int) -> ClipFrame:
        seconds = i / RATE
        angles = (0.0, 30 * float(np.sin(np.pi * seconds)), 0.0)
        rotation = euler_to_matrix(torch.tensor(angles, dtype=torch.float64).deg2rad()).numpy()
        return ClipFrame(_noisy(rendered_photo(seed, angles), i), seconds, rotation=rotation)

    return Clip("turning head, rendered", n_frames, frame)


@dataclass(frozen=True, eq=False)
class Cutout:
    """A head that is pasted into a clip.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        alpha: (H, W) opacity in 0..1.
        centre: (2,) centre of the landmarks in pixels of `image`.
    """

    image: Image
    alpha: Array
    centre: Array


def cut_out(photo: Image, predictor: FacePredictor) -> Cutout:
    """Cut the head of a photo's first face out along an ellipse, in the size of the clips of crossing people.

    Raises:
        UserError: no face was found.
    """
    faces = predictor(photo)
    if not faces:
        raise UserError("no face was found in a photo of the people who cross")
    points = faces[0].landmarks68[:, :2].astype(np.float64)
    low, high = points.min(0), points.max(0)
    side = round(2.4 * _CROSSING_FACE)
    motion = _similarity(_CROSSING_FACE / (high[1] - low[1]), 0, (low + high) / 2, np.array([side, side]) / 2)
    # The ellipse is 1.6 times as wide and twice as high as the box of the landmarks, and reaches above the brows.
    y, x = np.mgrid[:side, :side]
    half = _CROSSING_FACE / 2 * np.array([1.6 * (high[0] - low[0]) / (high[1] - low[1]), 1.9])
    radius = np.hypot((x - side / 2) / half[0], (y - side / 2 + 0.35 * _CROSSING_FACE) / half[1])
    alpha = np.clip((1 - radius) * 12, 0, 1)
    return Cutout(_warp(photo, motion, (side, side)), alpha, np.array([side, side]) / 2)


def crossing_clip(
    front: Cutout,
    back: Cutout,
    speed: float,
    height: float,
    name: str,
    turns_back: bool = False,
    pause: float = 0.0,
) -> Clip:
    """Make a clip of two people who walk towards each other, and cross or turn back.

    Args:
        front: walks to the right and covers the other person.
        back: walks to the left.
        speed: of each in pixels per second.
        height: by how many pixels the second person is lower.
        name: of the clip.
        turns_back: both turn back when one covers the other, instead of walking on.
        pause: how many seconds they stand still while one covers the other.
    """
    width, tall = _CROSSING_SIZE
    reach = width / 2 - _CROSSING_FACE
    n_frames = round((2 * reach / speed + pause) * RATE)
    gradient = np.linspace(60, 130, width)[None, :, None] * np.array([0.9, 1.0, 1.1])
    backdrop = np.broadcast_to(gradient, (tall, width, 3)).astype(np.uint8)

    def frame(i: int) -> ClipFrame:
        seconds = i / RATE
        to_middle = seconds - reach / speed - pause / 2
        x = speed * float(np.sign(to_middle)) * max(abs(to_middle) - pause / 2, 0.0)
        if turns_back:
            x = -float(np.hypot(x, _TURN))
        places = np.array([[width / 2 + x, tall / 2], [width / 2 - x, tall / 2 + height]])
        image = _paste(_paste(backdrop, back, places[1]), front, places[0])
        distance = np.abs(places[0] - places[1])
        face = np.array([0.85, 1.0]) * _CROSSING_FACE
        covered = float(np.prod((face - distance).clip(0) / face))
        centres = places.copy()
        if covered > _COVERED:
            centres[1] = np.nan
        return ClipFrame(_noisy(image, i), seconds, centres=centres)

    return Clip(name, n_frames, frame)


def crossing_clips(people: Sequence[Cutout]) -> list[Clip]:
    """Make clips of pairs of people who cross, turn back, or stand still while one covers the other.

    The pairs are the neighbours in the given order, and the last person with the first one. From one clip of a pair to
    the next, the two change places in front.
    """
    clips: list[Clip] = []
    for i in range(len(people) if len(people) > 2 else 1):
        pair = i, (i + 1) % len(people)
        for k, (speed, height, turns_back, pause) in enumerate(_CROSSINGS):
            front, back = pair if (i + k) % 2 else pair[::-1]
            what = "turns back, " * turns_back + f"stands for {pause:g} s, " * bool(pause)
            name = f"{front + 1} in front of {back + 1}, {what}{speed:.0f} px/s"
            clips.append(crossing_clip(people[front], people[back], speed, height, name, turns_back, pause))
    return clips


def large_clip(photo: Image, n_frames: int) -> Clip:
    """Make a clip of 1280 x 720 pixels in which a photo with one face pans slowly."""
    height, width = photo.shape[:2]
    centre = np.array([width, height]) / 2

    def frame(i: int) -> ClipFrame:
        seconds = i / RATE
        place = np.array([640 + 20 * np.sin(np.pi * seconds), 360.0])
        return ClipFrame(_noisy(_warp(photo, _similarity(720 / height, 0, centre, place), (1280, 720)), i), seconds)

    return Clip("1280 x 720", n_frames, frame)


def _similarity(scale: float, degrees: float, source: Array, target: Array) -> Array:
    """Return the map (2, 3) that scales and rotates (clockwise on the screen) and takes source (2,) to target (2,)."""
    angle = np.radians(degrees)
    linear = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return np.concatenate([linear, (target - linear @ source)[:, None]], 1)


def _warp(photo: Image, motion: Array, size: tuple[int, int]) -> Image:
    """Draw a photo by a map (2, 3) from its pixels; its edge is repeated outside."""
    flags = cv2.INTER_AREA if np.linalg.det(motion[:, :2]) < 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.warpAffine(photo, motion, size, flags=flags, borderMode=cv2.BORDER_REPLICATE), np.uint8)


def _noisy(image: Image, seed: int) -> Image:
    """Add independent noise to each pixel."""
    noise = np.random.default_rng(seed).normal(0, _NOISE, image.shape)
    return np.clip(np.rint(image + noise), 0, 255).astype(np.uint8)


def _paste(image: Image, cutout: Cutout, place: Array) -> Image:
    """Draw a cutout so that its centre is at a place (2,) of the image."""
    motion = np.concatenate([np.eye(2), (place - cutout.centre)[:, None]], 1)
    size = image.shape[1], image.shape[0]
    alpha = cv2.warpAffine(cutout.alpha, motion, size)[..., None]
    moved = cv2.warpAffine(cutout.image, motion, size)
    return np.rint(image * (1 - alpha) + moved * alpha).astype(np.uint8)
