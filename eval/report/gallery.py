"""The samples with the largest, median and smallest errors: pictures with true and predicted landmarks and meshes."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from eval.protocols.frame import origin
from eval.result import ProtocolResult
from synergy.crop import landmark_box, square_crop, transform_points, warp
from synergy.data.reader import FaceReader, SampleError
from synergy.data.sample import FaceSample
from synergy.draw import draw_mesh
from synergy.face import Face
from synergy.landmarks import CONTOURS
from synergy.raster import Rasterizer

SIZE = 240
MARGIN = 1.45


@dataclass(frozen=True)
class MeshOverlay:
    """How to make the pictures of predicted meshes.

    Attributes:
        predict: predicts the face of a sample with its image.
        rasterizer: draws its mesh.
    """

    predict: Callable[[FaceSample], Face]
    rasterizer: Rasterizer


@dataclass(frozen=True)
class DrawnLandmarks:
    """Landmarks in pixels of a picture.

    Attributes:
        points: x and y of the known points.
        open_curves: curves through them, each as the `points` of an SVG polyline.
        closed_curves: the same for polygons.
    """

    points: list[list[float]]
    open_curves: list[str]
    closed_curves: list[str]


@dataclass(frozen=True)
class FaceCard:
    """One face of the gallery.

    Attributes:
        name: of the sample.
        error: in percent, formatted.
        yaw: true yaw, formatted, or empty.
        problem: why there is no picture, or empty.
        picture: data URL of the picture.
        mesh: data URL of the picture with the predicted mesh, or empty.
        true: true landmarks, or None without a picture.
        predicted: predicted landmarks, or None without a picture.
        size: side of the picture in pixels.
    """

    name: str
    error: str
    yaw: str
    problem: str = ""
    picture: str = ""
    mesh: str = ""
    true: DrawnLandmarks | None = None
    predicted: DrawnLandmarks | None = None
    size: int = SIZE


def rank_samples(errors: NDArray[np.floating], count: int = 6) -> dict[str, list[int]]:
    """Return the indices of the samples with the largest, median and smallest errors.

    Args:
        errors: (N,). Samples whose error is NaN are left out.
        count: samples in each group; there are fewer if N is smaller.
    """
    order = np.argsort(np.where(np.isfinite(errors), errors, -np.inf))
    order = order[np.isfinite(errors[order])]
    taken = min(count, len(order))
    start = (len(order) - taken) // 2
    groups = {"Worst": order[::-1][:taken], "Median": order[start : start + taken], "Best": order[:taken]}
    return {title: indices.tolist() for title, indices in groups.items()}


def face_card(
    result: ProtocolResult, index: int, reader: FaceReader, row: int, overlay: MeshOverlay | None
) -> FaceCard:
    """Draw one sample.

    Args:
        result: the result of the protocol.
        index: of the sample in the result.
        reader: its image is read from it.
        row: index of the sample in the reader.
        overlay: how to draw the predicted mesh; None leaves it out.
    """
    name, error = result.samples[index].name, f"{next(iter(result.errors.values()))[index]:.2f}"
    yaw = "" if result.yaw_deg is None else f", yaw {result.yaw_deg[index]:.0f}°"
    try:
        sample = reader.read(row)
    except SampleError as problem:
        return FaceCard(name, error, yaw, problem=str(problem))
    true, predicted = result.true[index][:, :2] - origin(sample), result.predicted[index][:, :2]
    affine = square_crop(landmark_box(true), SIZE, MARGIN)
    crop = warp(sample.image, affine, SIZE)
    mesh = ""
    if overlay is not None:
        face = overlay.predict(sample)
        vertices = transform_points(affine, face.vertices())
        triangles = face.morphable_model.triangles
        mesh = _data_url(draw_mesh(crop, vertices, triangles, alpha=0.75, rasterizer=overlay.rasterizer))
    return FaceCard(
        name,
        error,
        yaw,
        picture=_data_url(crop),
        mesh=mesh,
        true=_draw_landmarks(transform_points(affine, true)),
        predicted=_draw_landmarks(transform_points(affine, predicted)),
    )


def _draw_landmarks(points: NDArray[np.floating]) -> DrawnLandmarks:
    known = np.isfinite(points).all(1)
    curves: dict[bool, list[str]] = {False: [], True: []}
    for first, end, closed in CONTOURS.values():
        if known[first:end].all():
            curves[closed].append(" ".join(f"{x:.1f},{y:.1f}" for x, y in points[first:end]))
    return DrawnLandmarks(points[known].round(1).tolist(), curves[False], curves[True])


def _data_url(image: NDArray[np.uint8]) -> str:
    _, encoded = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 82])
    return "data:image/jpeg;base64," + base64.b64encode(encoded.tobytes()).decode()
