"""Contact sheets of a morphable model: pictures of its mean, shape modes, expressions and random people."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from bfm_assets import MorphableModel
from synergy.appearance import random_colours, region_colours
from synergy.camera import project_plain
from synergy.draw import draw_contours, draw_mesh, draw_points
from synergy.geometry import compose_pose, euler_to_matrix, flip_y
from synergy.raster import Rasterizer, rasterize

Image = NDArray[np.uint8]
Floats = NDArray[np.float32]
T = TypeVar("T")
Track = Callable[[list[T]], Iterable[T]]

# Name and yaw in degrees of each rendered view.
VIEWS = {"front": 0.0, "three quarters": 45.0, "profile": 90.0}
# Coefficient of a mode in its picture, in standard deviations.
SIGMA = 2.5
N_MODES = 12
N_PEOPLE = 30
# A tile is larger than the mean mesh by the first factor, or than the mean landmarks of a model without a mesh by the
# second.
_MARGIN = 1.1
_LANDMARK_MARGIN = 1.6
# Tiles are drawn larger by this factor and then reduced. This gives smooth edges and small landmarks.
_OVERSAMPLING = 2
_BACKGROUND = (28, 30, 34)
_TEXT = (225, 225, 225)
_LANDMARK = (90, 255, 150)


@dataclass(frozen=True, eq=False)
class Person:
    """One face of a sheet.

    Attributes:
        label: the text in its picture.
        shape: (S,) shape coefficients.
        expression: (E,) expression coefficients.
        colours: (V, 3) uint8 RGB of the vertices, those of the model by default.
    """

    label: str
    shape: Floats
    expression: Floats
    colours: Image | None = None


@dataclass(frozen=True, eq=False)
class Sheet:
    """Contents and layout of one picture, which shows each person in every view.

    Attributes:
        name: of the sheet.
        people: the faces to draw.
        columns: number of people in a row.
        size: side of one tile in pixels.
    """

    name: str
    people: tuple[Person, ...]
    columns: int
    size: int


def sheets(model: MorphableModel, seed: int = 0) -> list[Sheet]:
    """Return the sheets of a model: its mean, its shape modes, its expressions and random people.

    The first twelve shape modes are shown at -2.5 and +2.5 standard deviations. Expressions with names are blendshapes
    and are shown with a coefficient of 1. Expressions without names are principal components and are shown at +2.5
    standard deviations.

    Args:
        model: the morphable model.
        seed: seed of the random people.
    """
    zero = Person("mean", np.zeros(model.n_shape, np.float32), np.zeros(model.n_expression, np.float32))
    modes = [
        Person(f"mode {i + 1}, {sign * SIGMA:+g} sigma", sign * SIGMA * _unit(model.shape_std, i), zero.expression)
        for i in range(min(N_MODES, model.n_shape))
        for sign in (-1, 1)
    ]
    strengths = np.ones(model.n_expression) if model.expression_names else SIGMA * model.expression_std
    names = model.expression_names or [f"expression {i + 1}" for i in range(model.n_expression)]
    expressions = [Person(name, zero.shape, _unit(strengths, i)) for i, name in enumerate(names)]
    result = [
        Sheet("mean", (zero,), 1, 420),
        Sheet("shape", tuple(modes), 2, 210),
        Sheet("expression", tuple(expressions), 3, 190),
        Sheet("people", tuple(random_people(model, N_PEOPLE, seed)), 3, 190),
    ]
    return [sheet for sheet in result if sheet.people]


def random_people(model: MorphableModel, count: int, seed: int) -> Iterator[Person]:
    """Sample people from the model's prior, each with up to three expressions of random strength.

    Their colours are random too, if the model has regions.

    Args:
        model: the morphable model.
        count: number of people.
        seed: seed of the random numbers.

    Yields:
        The people.
    """
    rng = np.random.default_rng(seed)
    full = np.ones(model.n_expression) if model.expression_names else 2 * model.expression_std
    for i in range(count):
        shape = rng.normal(size=model.n_shape) * model.shape_std
        expression = np.zeros(model.n_expression)
        chosen = rng.permutation(model.n_expression)[:3]
        expression[chosen] = rng.uniform(0, 0.7, len(chosen)) * full[chosen]
        colours = None
        if model.region_weights is not None:
            colours = region_colours(model, **random_colours(rng))
        yield Person(f"person {i + 1}", shape.astype(np.float32), expression.astype(np.float32), colours)


def draw_sheet(
    model: MorphableModel, sheet: Sheet, track: Track[Person] = list, rasterizer: Rasterizer = rasterize
) -> Image:
    """Draw a sheet.

    Args:
        model: the model of the sheet's people.
        sheet: what to draw.
        track: called with the list of people; what it returns is iterated. A progress bar can be put here.
        rasterizer: finds the triangle at each pixel (`synergy.raster.rasterizer`).

    Returns:
        (H, W, 3) uint8 RGB.
    """
    cells = [_draw_person(model, person, sheet.size, rasterizer) for person in track(list(sheet.people))]
    rows = [cells[i : i + sheet.columns] for i in range(0, len(cells), sheet.columns)]
    blank = np.full_like(cells[0], _BACKGROUND)
    rows[-1] += [blank] * (min(sheet.columns, len(cells)) - len(rows[-1]))
    return np.concatenate([np.concatenate(row, 1) for row in rows], 0)


def draw_view(
    model: MorphableModel,
    vertices: Floats,
    yaw_deg: float,
    size: int,
    rasterizer: Rasterizer = rasterize,
    colours: Image | None = None,
) -> Image:
    """Draw one tile: a shaded mesh with its landmarks, or only the landmarks if the model has no mesh.

    Scale and position depend only on the model's mean. Tiles of one model can therefore be compared.

    Args:
        model: the model of the vertices.
        vertices: (V, 3) in model space.
        yaw_deg: yaw of the face in degrees.
        size: side of the tile in pixels.
        rasterizer: finds the triangle at each pixel (`synergy.raster.rasterizer`).
        colours: (V, 3) uint8 RGB of the vertices, those of the model by default.

    Returns:
        (size, size, 3) uint8 RGB.
    """
    large = _OVERSAMPLING * size
    image = np.full((large, large, 3), _BACKGROUND, np.uint8)
    points = _project(model, vertices, yaw_deg, large)
    landmarks = points[model.landmarks]
    if model.is_dense:
        painted = model.colours if colours is None else colours
        image = draw_mesh(image, points, model.triangles, painted, rasterizer=rasterizer)
        image = draw_points(image, landmarks, _LANDMARK, radius=max(1.0, size / 200))
    else:
        image = draw_points(draw_contours(image, landmarks), landmarks)
    return np.asarray(cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA), np.uint8)


def _project(model: MorphableModel, vertices: Floats, yaw_deg: float, size: int) -> Floats:
    """Project vertices (V, 3) so that the centre of the model's mean lies in the centre of the tile."""
    mean = model.mean.astype(np.float64)
    low, high = mean.min(0), mean.max(0)
    scale = torch.tensor(size / ((_MARGIN if model.is_dense else _LANDMARK_MARGIN) * (high - low).max()))
    rotation = euler_to_matrix(torch.tensor([0.0, np.radians(yaw_deg), 0.0], dtype=torch.float64))
    centre = flip_y(torch.tensor([(size - 1) / 2, (size - 1) / 2, 0.0], dtype=torch.float64), size)
    translation = centre - scale * (rotation @ torch.from_numpy((low + high) / 2))
    pose = compose_pose(scale, rotation, translation)
    return project_plain(torch.from_numpy(vertices).double(), pose, size).numpy().astype(np.float32)


def _draw_person(model: MorphableModel, person: Person, size: int, rasterizer: Rasterizer) -> Image:
    """Draw one person in every view, with the label, as one row of tiles."""
    vertices = model.vertices(person.shape, person.expression)
    views = [draw_view(model, vertices, yaw, size, rasterizer, person.colours) for yaw in VIEWS.values()]
    cell = np.concatenate(views, 1)
    scale = max(0.35, size / 450)
    cv2.putText(cell, person.label, (6, round(34 * scale)), cv2.FONT_HERSHEY_SIMPLEX, scale, _TEXT, 1, cv2.LINE_AA)
    return cell


def _unit(strengths: NDArray[np.floating], i: int) -> Floats:
    """Return coefficients that are zero except for the `i`th, which is `strengths[i]`."""
    coefficients = np.zeros(len(strengths), np.float32)
    coefficients[i] = strengths[i]
    return coefficients
