"""Worst, median and best faces: the picture around the face, with true and predicted points drawn over it."""

from __future__ import annotations

import base64
import html
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from eval.outcome import Outcome
from synergy.crop import landmark_box, square_crop, transform_points, warp
from synergy.data.reader import FaceReader, SampleError
from synergy.data.sample import FaceSample
from synergy.draw import draw_mesh
from synergy.face import Face
from synergy.landmarks import CONTOURS
from synergy.raster import Rasterizer

SIZE = 240
MARGIN = 1.45


Predict = Callable[[FaceSample], Face]


@dataclass(frozen=True)
class Meshes:
    """How the predicted meshes of the shown faces are made.

    Attributes:
        predict: predicts the face of a sample, given with its image.
        rasterizer: draws its mesh.
    """

    predict: Predict
    rasterizer: Rasterizer


@dataclass(frozen=True)
class Group:
    """Some samples by index into the outcome, under a heading."""

    title: str
    indices: tuple[int, ...]


def ranked_groups(errors: NDArray[np.floating], count: int = 6) -> list[Group]:
    """The `count` worst, middle and best samples by error (N,); fewer where there are not so many."""
    order = np.argsort(np.where(np.isfinite(errors), errors, -np.inf))
    order = order[np.isfinite(errors[order])]
    take = min(count, len(order))
    start = (len(order) - take) // 2
    picks = (("Worst", order[::-1][:take]), ("Median", order[start : start + take]), ("Best", order[:take]))
    return [Group(title, tuple(map(int, indices))) for title, indices in picks]


def gallery(
    outcome: Outcome, reader: FaceReader, rows: NDArray[np.intp], group: Group, meshes: Meshes | None = None
) -> str:
    """Draw a group.

    Args:
        outcome: the result of the protocol.
        reader: the images are read from it.
        rows: (N,) the samples' indices in the reader.
        group: the samples to show.
        meshes: how to draw the predicted meshes; None leaves them out.

    Returns:
        The group as HTML.
    """
    cards = "".join(_card(outcome, reader, int(rows[i]), i, meshes) for i in group.indices)
    return f'<h3>{group.title}</h3><div class="gallery">{cards}</div>'


def _card(outcome: Outcome, reader: FaceReader, row: int, index: int, meshes: Meshes | None) -> str:
    name, errors = next(iter(outcome.errors.items()))
    sample = outcome.samples[index]
    true, predicted = outcome.true[index][:, :2], outcome.predicted[index][:, :2]
    yaw = "" if outcome.yaw_deg is None else f", yaw {outcome.yaw_deg[index]:.0f}°"
    caption = f"<b>{errors[index]:.2f} %</b>{yaw}<br><span>{html.escape(sample.name)}</span>"
    try:
        read = reader.read(row)
    except SampleError as error:
        return f"<figure><p>{html.escape(str(error))}</p><figcaption>{caption}</figcaption></figure>"
    affine = square_crop(landmark_box(true), SIZE, MARGIN)
    crop = warp(read.image, affine, SIZE)
    picture = f'<img alt="" src="{_data_url(crop)}">'
    if meshes is not None:
        face = meshes.predict(read)
        vertices = transform_points(affine, face.vertices())
        drawn = draw_mesh(crop, vertices, face.morphable_model.triangles, alpha=0.75, rasterizer=meshes.rasterizer)
        picture += f'<img class="mesh" alt="" src="{_data_url(drawn)}">'
    layers = _points(transform_points(affine, true), "true") + _points(transform_points(affine, predicted), "predicted")
    drawing = f'<svg viewBox="-0.5 -0.5 {SIZE} {SIZE}" aria-hidden="true">{layers}</svg>'
    return f'<figure title="{name}"><div>{picture}{drawing}</div><figcaption>{caption}</figcaption></figure>'


def _points(points: NDArray[np.floating], kind: str) -> str:
    known = np.isfinite(points).all(1)
    dots = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="1.9"/>' for x, y in points[known])
    curves = ""
    for first, end, closed in CONTOURS.values():
        if known[first:end].all():
            path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points[first:end])
            curves += f'<{"polygon" if closed else "polyline"} points="{path}"/>'
    return f'<g class="{kind}">{curves}{dots}</g>'


def _data_url(image: NDArray[np.uint8]) -> str:
    _, encoded = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 82])
    return "data:image/jpeg;base64," + base64.b64encode(encoded.tobytes()).decode()
