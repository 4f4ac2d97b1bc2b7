"""How many faces a detector finds, in how much time, at each size of its input.

Faces are tested in crowds: pictures in which tiles with one face each lie next to one another, in sizes from small to
large, so that one picture tests many sizes. The tiles are photos with landmark annotations, or rendered open faces.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from bfm_assets import open_face
from synergy.appearance import random_colours, region_colours
from synergy.crop import landmark_box
from synergy.data.sample import FaceSample
from synergy.defaults import LEAST_MIN_FACE
from synergy.demo import random_face
from synergy.detect import CenterFace, Detection, Detector
from synergy.detect.centerface import SMALLEST_FACE
from synergy.draw import draw_mesh

Image = NDArray[np.uint8]
Floats = NDArray[np.float32]

# Sides of the faces in a crowd, in pixels: the longer side of the landmarks' bounding box.
SIZES = (10.0, 14.0, 20.0, 28.0, 40.0, 56.0, 80.0, 113.0, 160.0)
# Width and height of a crowd in pixels.
CROWD_SIZE = (1280, 960)
# A tile shows this many times the side of the face, where its picture is large enough.
_TILE = 2.0
# A detection is a face if its landmark box has its centre within this distance of the face's centre, and a side within
# this factor of the face's side. Distances are in units of the face's side.
_CENTRE_DISTANCE = 0.3
_SIDE_FACTOR = 1.7


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture and the faces in it.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        boxes: (K, 4) float32 bounding boxes x0, y0, x1, y1 of the landmarks of its faces, in pixels.
    """

    image: Image
    boxes: Floats

    @property
    def sides(self) -> Floats:
        """Longer sides (K,) of the boxes in pixels."""
        return np.asarray((self.boxes[:, 2:] - self.boxes[:, :2]).max(1), np.float32)


def photos(samples: Iterable[FaceSample]) -> list[Picture]:
    """Return annotated photos of one face each as pictures."""
    return [Picture(s.image, landmark_box(s.landmarks68[None, :, :2]).astype(np.float32)) for s in samples]


def rendered_faces(count: int, seed: int) -> list[Picture]:
    """Render open faces: random people with random expressions and head poses.

    Args:
        count: number of pictures of 256 pixels with one face each.
        seed: of the random numbers.
    """
    model = open_face()
    rng = np.random.default_rng(seed)
    pictures = []
    for _ in range(count):
        angles = rng.normal(0, 10), rng.uniform(-75, 75), rng.normal(0, 8)
        face = random_face(angles, seed=int(rng.integers(1 << 30)))
        top, bottom = rng.uniform(20, 235, (2, 3))
        ramp = np.linspace(top, bottom, 256)[:, None].repeat(256, 1)
        backdrop = (ramp + rng.normal(0, 8, ramp.shape)).clip(0, 255).astype(np.uint8)
        colours = region_colours(model, **random_colours(rng))
        image = draw_mesh(backdrop, face.vertices(), model.triangles, colours)
        pictures.append(Picture(image, landmark_box(face.landmarks68[None]).astype(np.float32)))
    return pictures


def crowds(pictures: Sequence[Picture], seed: int) -> list[Picture]:
    """Put every face of the pictures into crowds of `CROWD_SIZE`, each in one of `SIZES`.

    Args:
        pictures: with one face each.
        seed: of the order of faces and sizes.
    """
    rng = np.random.default_rng(seed)
    # Large faces are rarer, because they need more space.
    weights = 1 / np.array(SIZES)
    sides = rng.choice(SIZES, len(pictures), p=weights / weights.sum())
    tiles = [_tile(pictures[i], float(side)) for i, side in zip(rng.permutation(len(pictures)), sides, strict=True)]
    result: list[Picture] = []
    while tiles:
        placed, tiles = _fill(tiles)
        result.append(placed)
    return result


def _tile(picture: Picture, side: float) -> Picture:
    """Cut out the surroundings of a picture's only face, scaled so that the face has a side in pixels."""
    box = picture.boxes[0]
    half = picture.sides[0] * _TILE / 2
    centre = (box[:2] + box[2:]) / 2
    height, width = picture.image.shape[:2]
    x0, y0 = np.clip(np.floor(centre - half), 0, [width - 1, height - 1]).astype(int)
    x1, y1 = np.clip(np.ceil(centre + half), [x0 + 1, y0 + 1], [width, height]).astype(int)
    scale = side / picture.sides[0]
    size = max(1, round((x1 - x0) * scale)), max(1, round((y1 - y0) * scale))
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    image = cv2.resize(picture.image[y0:y1, x0:x1], size, interpolation=interpolation)
    return Picture(np.asarray(image, np.uint8), ((picture.boxes - [x0, y0, x0, y0]) * scale).astype(np.float32))


def _fill(tiles: list[Picture]) -> tuple[Picture, list[Picture]]:
    """Place tiles row by row until the crowd is full. Return the crowd and the tiles that are left."""
    width, height = CROWD_SIZE
    image = np.full((height, width, 3), 127, np.uint8)
    boxes: list[Floats] = []
    x = y = row = 0
    for i, tile in enumerate(tiles):
        h, w = tile.image.shape[:2]
        if x + w > width:
            x, y, row = 0, y + row, 0
        if y + h > height:
            return Picture(image, np.concatenate(boxes)), tiles[i:]
        image[y : y + h, x : x + w] = tile.image
        boxes.append(tile.boxes + np.array([x, y, x, y], np.float32))
        x, row = x + w, max(row, h)
    return Picture(image, np.concatenate(boxes)), []


def match_detections(picture: Picture, detection: Detection, detector: Detector) -> tuple[NDArray[np.bool_], int]:
    """Compare detections with the faces of a picture.

    Returns:
        For each face (K,) whether a detection lies at its place with its size, and the number of detections that lie
        at no face.
    """
    boxes = detector.crop_box(detection.boxes)
    centres, sides = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]).max(1)
    true_centres = (picture.boxes[:, :2] + picture.boxes[:, 2:]) / 2
    distance = np.linalg.norm(centres[None] - true_centres[:, None], axis=-1) / picture.sides[:, None]
    factor = np.exp(np.abs(np.log(sides[None] / picture.sides[:, None])))
    match = (distance < _CENTRE_DISTANCE) & (factor < _SIDE_FACTOR)
    return match.any(1), int((~match.any(0)).sum())


@dataclass(frozen=True)
class Recall:
    """What a detector finds in some pictures.

    Attributes:
        recall: fraction of faces that are found.
        by_size: the same for each of `SIZES`, rounded to the nearest; NaN where there is no such face.
        false_per_picture: detections that lie at no face, per picture.
        ms: median wall time per picture in milliseconds.
        cpu_ms: median CPU time per picture in milliseconds, of all threads together.
    """

    recall: float
    by_size: tuple[float, ...]
    false_per_picture: float
    ms: float
    cpu_ms: float


def measure_recall(pictures: Sequence[Picture], detector: CenterFace, side: int) -> Recall:
    """Measure recall, false detections and time of CenterFace with one size of its input.

    Args:
        pictures: with any number of faces.
        detector: the detector. Its `min_face` is changed.
        side: longer side of the input in pixels. Pictures are enlarged to it at most twofold.
    """
    hits, sizes, wall, cpu, false = [], [], [], [], 0
    for picture in pictures:
        detector.min_face = max(LEAST_MIN_FACE, SMALLEST_FACE * max(picture.image.shape[:2]) / side)
        start, cpu_start = time.perf_counter(), time.process_time()
        detection = detector(picture.image)
        cpu.append(time.process_time() - cpu_start)
        wall.append(time.perf_counter() - start)
        mask, extra = match_detections(picture, detection, detector)
        hits.append(mask)
        sizes.append(np.abs(np.log(picture.sides[:, None] / np.array(SIZES))).argmin(1))
        false += extra
    hit, size = np.concatenate(hits), np.concatenate(sizes)
    by_size = tuple(float(hit[size == k].mean()) if (size == k).any() else float("nan") for k in range(len(SIZES)))
    times = (float(np.median(values) * 1000) for values in (wall, cpu))
    return Recall(float(hit.mean()), by_size, false / len(pictures), *times)


def sweep(pictures: Sequence[Picture], sides: Iterable[int]) -> dict[int, Recall]:
    """Measure CenterFace with several sizes of its input.

    Args:
        pictures: with any number of faces.
        sides: longer sides of the input in pixels.

    Returns:
        Side to what was found.
    """
    detector = CenterFace()
    return {side: measure_recall(pictures, detector, side) for side in sides}


def recall_table(title: str, results: Mapping[int, Recall]) -> Table:
    """Return the results of `sweep` as a table."""
    sizes = [f"{size:g} px" for size in SIZES]
    table = Table("input", "recall", *sizes, "false per picture", "ms", "CPU ms", title=title)
    for side, one in results.items():
        fractions = ["" if np.isnan(value) else f"{value:.2f}" for value in one.by_size]
        figures = (f"{one.false_per_picture:.2f}", f"{one.ms:.3g}", f"{one.cpu_ms:.3g}")
        table.add_row(str(side), f"{one.recall:.3f}", *fractions, *figures)
    return table
