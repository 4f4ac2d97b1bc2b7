"""The open face as a `MorphableModel`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bfm_assets.openface import colours, uv
from bfm_assets.openface.deform import Spreader, vertex_areas
from bfm_assets.openface.expressions import EXPRESSIONS, STD, Canvas
from bfm_assets.openface.frame import to_shipped
from bfm_assets.openface.head import build
from bfm_assets.openface.shapes import FEATURES, principal_modes
from bfm_assets.schema import MorphableModel

N_SHAPE = 56
FEATURE_SCALE = 0.7
"""Features overlap: each is drawn at this share of its table value, so that measurements vary as published."""
STEP = 2.0**-9
"""Coordinates are rounded to this many mm, which keeps the compressed file small."""


def _rounded(values: NDArray[np.floating]) -> NDArray[np.float32]:
    return (np.rint(values / STEP) * STEP).astype(np.float32)


def _turned(basis: NDArray[np.floating]) -> NDArray[np.floating]:
    return np.swapaxes(to_shipped(np.swapaxes(basis, 1, 2)), 1, 2)


def open_face() -> MorphableModel:
    """Build the model; the same bytes every time."""
    head = build()
    canvas = Canvas(head)
    spread = Spreader(head)
    shapes = FEATURE_SCALE * np.stack([spread(field(canvas)) for field in FEATURES.values()])
    areas = vertex_areas(head.vertices, head.triangles)
    shape_basis, shape_std = principal_modes(shapes, areas, N_SHAPE)
    still = np.where(np.isin(np.arange(len(head.vertices)), head.eyeballs), 0.0, 1.0)[:, None]
    expressions = np.stack([spread(still * field(canvas)) for field in EXPRESSIONS.values()], -1)
    colour, region = colours.paint(head)
    return MorphableModel(
        name="open-face-1",
        licence="CC0-1.0",
        mean=_rounded(to_shipped(head.vertices)),
        shape_basis=_rounded(_turned(shape_basis)),
        shape_std=shape_std.astype(np.float32),
        expression_basis=_rounded(_turned(expressions)),
        expression_std=np.full(len(EXPRESSIONS), STD, np.float32),
        triangles=head.triangles.astype(np.int32),
        landmarks=head.landmarks.astype(np.int32),
        expression_names=tuple(EXPRESSIONS),
        uv=uv.layout(head),
        colours=colour,
        regions=region,
        region_names=colours.REGIONS,
    )
