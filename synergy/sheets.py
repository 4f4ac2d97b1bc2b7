"""Contact sheets of a morphable model: what its mean, modes, expressions and random people look like."""

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

# Yaw of each view in degrees.
VIEWS = {"front": 0.0, "three quarters": 45.0, "profile": 90.0}
SIGMA = 2.5
N_MODES = 12
N_PEOPLE = 30
# A tile is this many times larger than the mean mesh, or than the mean landmarks of a model without a mesh.
_MARGIN = 1.1
_LANDMARK_MARGIN = 1.6
# Tiles are drawn this many times larger and averaged down, for smooth edges and landmarks that hide little.
_OVERSAMPLING = 2
_BACKGROUND = (28, 30, 34)
_INK = (225, 225, 225)
_LANDMARK = (90, 255, 150)


@dataclass(frozen=True, eq=False)
class Person:
    """One face of a sheet.

    Attributes:
        label: what the tile says.
        shape: (S,) coefficients.
        expression: (E,) coefficients.
        colours: (V, 3) uint8 colours of the vertices; the model's own where it is None.
    """

    label: str
    shape: Floats
    expression: Floats
    colours: Image | None = None


@dataclass(frozen=True, eq=False)
class Sheet:
    """One picture: each person from every view, `columns` people to a row, tiles of `size` pixels."""

    name: str
    people: tuple[Person, ...]
    columns: int
    size: int


def sheets(model: MorphableModel, seed: int = 0) -> list[Sheet]:
    """The mean; plus and minus 2.5 sigma of the first twelve modes; every expression; thirty random people.

    Expressions that have names are blendshapes, and full strength is a coefficient of 1; those without are principal
    components, shown at plus 2.5 sigma.
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
    found = [
        Sheet("mean", (zero,), 1, 420),
        Sheet("shape", tuple(modes), 2, 210),
        Sheet("expression", tuple(expressions), 3, 190),
        Sheet("people", tuple(random_people(model, N_PEOPLE, seed)), 3, 190),
    ]
    return [sheet for sheet in found if sheet.people]


def random_people(model: MorphableModel, count: int, seed: int) -> Iterator[Person]:
    """Draw people from the model's prior, each with up to three expressions, in random colours where it has regions."""
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
        model: the model that its people belong to.
        sheet: what to draw.
        track: wraps the list of people, to show progress.
        rasterizer: draws the meshes.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    cells = [_cell(model, person, sheet.size, rasterizer) for person in track(list(sheet.people))]
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
    """Draw one tile: a shaded mesh with its landmarks, or the landmarks alone for a model without a mesh.

    Scale and place follow the model's mean, so that tiles of one model can be compared.

    Args:
        model: the model that the vertices belong to.
        vertices: (V, 3) in model space.
        yaw_deg: how far the face is rotated to the image's left, in degrees.
        size: side of the tile in pixels.
        rasterizer: draws the mesh.
        colours: (V, 3) uint8 colours of the vertices; the model's own where it is None.

    Returns:
        (size, size, 3) uint8 RGB.
    """
    large = _OVERSAMPLING * size
    image = np.full((large, large, 3), _BACKGROUND, np.uint8)
    points = _place(model, vertices, yaw_deg, large)
    landmarks = points[model.landmarks]
    if model.is_dense:
        painted = model.colours if colours is None else colours
        image = draw_mesh(image, points, model.triangles, painted, rasterizer=rasterizer)
        image = draw_points(image, landmarks, _LANDMARK, radius=max(1.0, size / 200))
    else:
        image = draw_points(draw_contours(image, landmarks), landmarks)
    return np.asarray(cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA), np.uint8)


def _place(model: MorphableModel, vertices: Floats, yaw_deg: float, size: int) -> Floats:
    """Image points (V, 3) of a mesh in model space; the middle of the model's mean comes to the middle of the tile."""
    mean = model.mean.astype(np.float64)
    low, high = mean.min(0), mean.max(0)
    scale = torch.tensor(size / ((_MARGIN if model.is_dense else _LANDMARK_MARGIN) * (high - low).max()))
    rotation = euler_to_matrix(torch.tensor([0.0, np.radians(yaw_deg), 0.0], dtype=torch.float64))
    middle = flip_y(torch.tensor([(size - 1) / 2, (size - 1) / 2, 0.0], dtype=torch.float64), size)
    translation = middle - scale * (rotation @ torch.from_numpy((low + high) / 2))
    pose = compose_pose(scale, rotation, translation)
    return project_plain(torch.from_numpy(vertices).double(), pose, size).numpy().astype(np.float32)


def _cell(model: MorphableModel, person: Person, size: int, rasterizer: Rasterizer) -> Image:
    vertices = model.vertices(person.shape, person.expression)
    views = [draw_view(model, vertices, yaw, size, rasterizer, person.colours) for yaw in VIEWS.values()]
    cell = np.concatenate(views, 1)
    scale = max(0.35, size / 450)
    cv2.putText(cell, person.label, (6, round(34 * scale)), cv2.FONT_HERSHEY_SIMPLEX, scale, _INK, 1, cv2.LINE_AA)
    return cell


def _unit(strengths: NDArray[np.floating], i: int) -> Floats:
    """Coefficients that are zero but for the `i`th."""
    found = np.zeros(len(strengths), np.float32)
    found[i] = strengths[i]
    return found
