"""The stages of one photo, from the file to files of results."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PilImage

from synergy.appearance import random_colours, region_colours
from synergy.benchmark.timing import Timing, join_timings, time_calls, wait_until_idle
from synergy.crop import square_crop, warp
from synergy.demo import random_face
from synergy.draw import draw_mesh, mesh_overlay, overlay
from synergy.images import read_image
from synergy.predictor import FacePredictor

Image = NDArray[np.uint8]

WIDTH, HEIGHT = 640, 480
# From the photo in memory to its landmarks; "detect" and "network" are the stages that networks spend.
TO_LANDMARKS = ("detect", "crop", "network", "post-processing")
NETWORKS = ("detect", "network")
STAGES = ("decode", *TO_LANDMARKS, "JSON", "drawing", "writing")
TOTAL = "photo to landmarks"


def make_photo() -> bytes:
    """Render a photo of 640 x 480 pixels with one open face of 120 pixels, as a JPEG file.

    Example:
        >>> read_image(make_photo()).shape
        (480, 640, 3)
    """
    face = random_face((5, 15, 0), seed=0)
    model = face.morphable_model
    rng = np.random.default_rng(0)
    image = rng.normal(140, 12, (HEIGHT, WIDTH, 3)).clip(0, 255).astype(np.uint8)
    colours = region_colours(model, **random_colours(rng))
    shift = np.array([WIDTH / 2 - 128, HEIGHT / 2 - 128, 0], np.float32)
    return _jpeg(draw_mesh(image, face.vertices() + shift, model.triangles, colours))


def measure_stages(predictor: FacePredictor, photo: bytes, repeats: int) -> dict[str, Timing]:
    """Time the stages of a photo with one face, and the way from the photo in memory to its landmarks.

    Args:
        predictor: with its detector.
        photo: the photo as a file.
        repeats: number of times that all stages are timed after each other.

    Returns:
        Times of `STAGES` and of `TOTAL`.
    """
    times: dict[str, list[Timing]] = {name: [] for name in (*STAGES, TOTAL)}
    for _ in range(repeats):
        for name, call in _stages(predictor, photo):
            wait_until_idle()
            times[name].append(time_calls(call, seconds=0, min_calls=1))
    return {name: join_timings(measured) for name, measured in times.items()}


def _stages(predictor: FacePredictor, photo: bytes) -> Iterator[tuple[str, Callable[[], object]]]:
    """Yield the name of each stage and the call that does it, once what it needs is there."""
    size, margin = predictor.net.size, predictor.net.margin
    image = read_image(photo)
    yield "decode", partial(read_image, photo)
    detection = predictor.detector(image)
    yield "detect", partial(predictor.detector, image)
    boxes = predictor.detector.crop_box(detection.boxes)
    affines = square_crop(boxes, size, margin)
    crops = np.stack([warp(image, affine, size) for affine in affines])
    yield "crop", lambda: [warp(image, affine, size) for affine in square_crop(boxes, size, margin)]
    predicted = predictor.predict_crops(crops)
    yield "network", partial(predictor.predict_crops, crops)
    yield "post-processing", partial(predictor.faces, detection.boxes, detection.scores, affines, predicted)
    faces = predictor(image)
    yield TOTAL, partial(predictor, image)
    yield "JSON", lambda: json.dumps(faces.to_dict())
    draw = (overlay, mesh_overlay) if predictor.net.morphable_model.is_dense else (overlay,)
    pictures = [function(image, faces) for function in draw]
    yield "drawing", lambda: [function(image, faces) for function in draw]
    yield "writing", lambda: [_jpeg(picture) for picture in pictures]


def overhead(stages: dict[str, Timing]) -> float:
    """Return the CPU time outside detector and network, from photo to landmarks, as a fraction of their CPU time."""
    inside = sum(stages[name].cpu_median for name in NETWORKS)
    return sum(stages[name].cpu_median for name in TO_LANDMARKS if name not in NETWORKS) / inside


def _jpeg(image: Image) -> bytes:
    """Return an image as a JPEG file with the quality of `synergy.images.write_image`."""
    file = io.BytesIO()
    PilImage.fromarray(image).save(file, "JPEG", quality=92)
    return file.getvalue()
