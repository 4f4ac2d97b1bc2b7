"""Identity modes: ICT-FaceKit's, made symmetric, together with smooth local corrections.

ICT-FaceKit's modes describe people. They do not describe that another model or another annotator puts a landmark two
millimetres further along the nose. Such differences are covered as Luethi et al. propose ("Gaussian Process Morphable
Models", IEEE TPAMI 2018): the statistical model is extended by a Gaussian process of smooth deformations, here a sum of
independent bumps centred at the landmarks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from train.open_face.arrays import Floats
from train.open_face.exact import cross, eigenvectors, length, product
from train.open_face.mesh import Mesh
from train.open_face.source import MIRROR, SCLERAS, SKIN, Source


@dataclass(frozen=True)
class Bumps:
    """Smooth local deformations: their radius and standard deviation in millimetres."""

    radius: float
    std: float


BUMPS = (Bumps(60.0, 2.0), Bumps(30.0, 1.0))
"""Chosen so that fits to random faces of both published models have the residuals of docs/morphable-models.md, and
random people of the open face still look like people."""
N_SYMMETRIC, N_ANTISYMMETRIC = 60, 10
LANDMARK_WEIGHT = 0.9
"""Weight of all landmarks in the principal components, of 1. The surface has the rest, in proportion to area."""
_FIELD_UNIT, _VECTOR_UNIT, _WEIGHT_UNIT = 2.0**-8, 2.0**-16, 2.0**-18


def identity_modes(source: Source, mesh: Mesh) -> Floats:
    """Compute the identity modes (N_SYMMETRIC + N_ANTISYMMETRIC, V, 3): displacements of one standard deviation in mm.

    They are the principal components of ICT-FaceKit's modes and the local corrections, largest first. Every mode is
    either symmetric or antisymmetric, so a mirrored face is in the model exactly. The result is the same on every
    machine.
    """
    neutral = mesh.sample(source.neutral)
    weight = _weights(neutral, mesh)
    symmetric = np.concatenate(
        [mesh.sample(source.symmetric), *(_bump_fields(neutral, mesh, bumps) for bumps in BUMPS)]
    )
    parts = [(symmetric, N_SYMMETRIC), (mesh.sample(source.antisymmetric), N_ANTISYMMETRIC)]
    found = [_principal(fields, weight, count) for fields, count in parts]
    modes, energy = (np.concatenate([part[i] for part in found]) for i in range(2))
    return modes[np.argsort(-energy, kind="stable")]


def _principal(fields: Floats, weight: Floats, count: int) -> tuple[Floats, Floats]:
    """Return principal components (count, V, 3) of independent deformations (K, V, 3), and their energies (count,)."""
    whole = np.rint(fields / _FIELD_UNIT).reshape(len(fields), -1)
    rows = np.repeat(np.rint(weight / _WEIGHT_UNIT), 3)
    energy, vectors = eigenvectors(product(whole * rows, whole.T))
    vectors = np.rint(vectors[:, :count] / _VECTOR_UNIT)
    modes = product(vectors.T, whole) * (_VECTOR_UNIT * _FIELD_UNIT)
    return modes.reshape(count, *fields.shape[1:]), energy[:count]


def _weights(neutral: Floats, mesh: Mesh) -> Floats:
    """Return the weight (V,) of each vertex: equal for all landmarks, and in proportion to its area for the rest."""
    a, b, c = (neutral[mesh.triangles[:, i]] for i in range(3))
    third = length(cross(b - a, c - a)) / 6
    total = np.zeros(len(neutral))
    for i in range(3):
        np.add.at(total, mesh.triangles[:, i], third)
    total *= mesh.within(SKIN)
    weight = (1 - LANDMARK_WEIGHT) * total / np.cumsum(total)[-1]
    weight[mesh.landmarks] += LANDMARK_WEIGHT / len(mesh.landmarks)
    return np.asarray((weight + weight[mesh.mirror]) / 2)


def _bump_fields(neutral: Floats, mesh: Mesh, bumps: Bumps) -> Floats:
    """Return symmetric deformations (K, V, 3): a bump along each axis at each landmark of x >= 0, and its mirror image.

    A bump is Wendland's function (1 - r)^4 (4 r + 1) of the distance in units of the radius. Where bumps overlap they
    are scaled down, so that a vertex moves by `std` along each axis. Eyeballs move rigidly, as their centres do.
    """
    at = neutral.copy()
    for ball in SCLERAS:
        inside = mesh.within(ball)
        at[inside] = (at[inside].min(0) + at[inside].max(0)) / 2
    centres = neutral[mesh.landmarks]
    ratio = length(at[None] - centres[:, None]) / bumps.radius
    rest = np.maximum(1 - ratio, 0)
    height = rest * rest * rest * rest * (4 * ratio + 1)
    height = bumps.std * height / np.maximum(np.sqrt(np.cumsum(height * height, 0)[-1]), 1)
    fields = []
    for bump, centre in zip(height, centres, strict=True):
        for axis in range(3):
            if centre[0] < 0 or (centre[0] == 0 and axis == 0):
                continue
            field = np.zeros_like(neutral)
            field[:, axis] = bump
            mirrored = field[mesh.mirror] * MIRROR
            fields.append(field if centre[0] == 0 else field + mirrored)
    return np.stack(fields)
