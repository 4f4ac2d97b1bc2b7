"""Put the open face together from ICT-FaceKit: `synergy assets build`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bfm_assets import MorphableModel
from synergy.appearance import region_colours
from train.open_face.identity import identity_modes
from train.open_face.layout import texture_coordinates
from train.open_face.mesh import build_mesh
from train.open_face.paint import REGIONS, face_mask, region_weights
from train.open_face.source import MIRROR, read_source

NAME = "open-face-2"
LICENCE = "MIT"
NOTICE = """\
The open face is made from ICT-FaceKit (https://github.com/ICT-VGL/ICT-FaceKit): its vertices, identity modes and
expressions are ICT-FaceKit's, reduced, made symmetric and extended. ICT-FaceKit's licence:

MIT License

Copyright (c) 2020 USC Institute for Creative Technologies

Permission is hereby granted, free of charge, to any person obtaining a copy
of this software and associated documentation files (the "Software"), to deal
in the Software without restriction, including without limitation the rights
to use, copy, modify, merge, publish, distribute, sublicense, and/or sell
copies of the Software, and to permit persons to whom the Software is
furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all
copies or substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR
IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY,
FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE
AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER
LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM,
OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE
SOFTWARE.
"""
"""`NOTICE` of the repository, which a test holds equal to this."""

HALF_PITCH_TANGENT = 0.01225
"""Tangent of half the angle by which ICT-FaceKit's head is rotated about x, chin forward: 1.40 degrees.

This is the only thing taken from the Basel Face Model. Head poses of the public data sets refer to BFM's axes, and
ICT-FaceKit's axes look down by this angle against them; `synergy assets report --bfm68 FILE` measures it on the
inner 51 landmarks. The tangent of the half makes sine and cosine without a library function, whose last digit differs
between machines.
"""
EXPRESSION_STD = 0.3
"""Standard deviation of the prior of every expression weight, whose meaning is 0 to 1."""
MEAN_STEP, BASIS_STEP = 2.0**-9, 2.0**-7
"""Coordinates and displacements are rounded to these steps in mm, which keeps the compressed file small."""


def build_open_face(ict: Path) -> MorphableModel:
    """Build the open face from the packed ICT-FaceKit model.

    The result is the same on every machine, to the last bit (`train.open_face.exact`).

    Args:
        ict: the packed ICT-FaceKit model, see `bfm_assets.ict`.

    Raises:
        ModelFileError: The file is not ICT-FaceKit.
    """
    source = read_source(ict)
    mesh = build_mesh(source)
    vertices = mesh.sample(source.neutral)
    right = mesh.mirror < np.arange(len(vertices))
    vertices[right] = vertices[mesh.mirror[right]] * MIRROR
    modes = identity_modes(source, mesh)
    expressions = np.stack([mesh.sample(shape) for shape in source.expressions.values()])
    model = MorphableModel(
        name=NAME,
        licence=LICENCE,
        mean=_rounded(_pitched(vertices), MEAN_STEP),
        shape_basis=_basis(modes),
        shape_std=np.ones(len(modes), np.float32),
        expression_basis=_basis(expressions),
        expression_std=np.full(len(expressions), EXPRESSION_STD, np.float32),
        triangles=mesh.triangles.astype(np.int32),
        landmarks=mesh.landmarks.astype(np.int32),
        expression_names=tuple(source.expressions),
        uv=texture_coordinates(vertices, mesh),
        region_weights=region_weights(source, mesh),
        region_names=REGIONS,
        face_mask=face_mask(mesh),
        notice=NOTICE,
    )
    return replace(model, colours=region_colours(model))


def _pitched(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return points or displacements (..., 3) in the axes of head poses: see `HALF_PITCH_TANGENT`."""
    t = HALF_PITCH_TANGENT
    c, s = (1 - t * t) / (1 + t * t), 2 * t / (1 + t * t)
    x, y, z = points[..., 0], points[..., 1], points[..., 2]
    return np.stack([x, c * y - s * z, s * y + c * z], -1)


def _basis(displacements: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return displacements (K, V, 3) as a basis (V, 3, K)."""
    return _rounded(np.moveaxis(_pitched(displacements), 0, 2), BASIS_STEP)


def _rounded(values: NDArray[np.float64], step: float) -> NDArray[np.float32]:
    # Adding zero changes -0 to 0.
    return np.ascontiguousarray(np.rint(values / step) * step + 0.0, np.float32)
