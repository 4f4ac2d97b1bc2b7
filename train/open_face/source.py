"""ICT-FaceKit as the source of shape: its parts, its exact symmetry and its expressions under ARKit's names.

Part and vertex numbers are those of ICT-FaceKit's README (https://github.com/ICT-VGL/ICT-FaceKit, tables "Face Model
Topology", "Face Area Details", "Eyeball Details" and "Teeth Details"). Lengths are millimetres in ICT-FaceKit's axes:
x to the subject's left, y up, z forward.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from bfm_assets import ModelFileError, read_ict
from train.open_face.arrays import Floats, Indices

MIRROR = np.array([-1.0, 1.0, 1.0])
"""Mirroring at the plane x = 0."""

NARROW_FACE = range(6706)
"""The face without ears and neck: what 3DDFA draws as a face."""
FULL_FACE = range(9409)
"""The face with ears and throat, without skull and nape."""
SKIN = range(11248)
MOUTH_SOCKET = range(11248, 13294)
EYE_SOCKETS = range(13294, 14062)
GUMS_AND_TONGUE = range(14062, 17039)
TEETH_STARTS = (
    17039, 17230, 17416, 17607, 17730, 17895, 17991, 18067, 18143, 18219, 18295, 18391, 18556, 18679, 18870, 19056,
    19247, 19426, 19602, 19814, 19952, 20079, 20169, 20263, 20349, 20435, 20529, 20619, 20746, 20884, 21096, 21272,
)  # fmt: skip
"""First vertex of each tooth: 16 upper ones from the left third molar to the right one, then 16 lower ones."""
TEETH_END = 21451
SCLERAS = (range(21451, 22221), range(23021, 23791))
"""Outer surface of the left and the right eyeball, the cornea included."""
N_VERTICES = 26719

GAZE_HALF_TANGENT = 0.2217
"""Tangent of half the angle, 25 degrees, by which the eyes rotate in the eyeLook shapes at weight 1."""
MOLARS = (0, 1, 14, 15, 16, 17, 30, 31)
"""Second and third molars, as indices into `TEETH_STARTS`. They are never visible, so the open face leaves them out."""


def tooth(index: int) -> range:
    """Return the vertices of a tooth, numbered as in ICT-FaceKit's README."""
    starts = (*TEETH_STARTS, TEETH_END)
    return range(starts[index], starts[index + 1])


@dataclass(frozen=True, eq=False)
class Source:
    """ICT-FaceKit in millimetres, symmetric to the last bit in its expressions and identity spaces.

    Attributes:
        neutral: (V, 3) neutral face.
        triangles: (F, 3) vertex indices, counter-clockwise seen from outside.
        landmarks: (68,) Multi-PIE landmark vertices.
        mirror: (V,) index of each vertex's mirror image.
        symmetric: (S, V, 3) mirror-symmetric parts of the identity modes, one standard deviation each.
        antisymmetric: (S, V, 3) antisymmetric parts of the identity modes.
        expressions: ARKit name to displacements (V, 3) at weight 1. Left and right shapes mirror each other.
    """

    neutral: Floats
    triangles: Indices
    landmarks: Indices
    mirror: Indices
    symmetric: Floats
    antisymmetric: Floats
    expressions: dict[str, Floats]

    def mirrored(self, displacements: Floats) -> Floats:
        """Return the mirror images (..., V, 3) of displacement fields."""
        return np.asarray(displacements[..., self.mirror, :] * MIRROR)


def read_source(path: Path) -> Source:
    """Read the packed ICT-FaceKit model and make it exactly symmetric.

    Args:
        path: packed model, see `bfm_assets.ict`.

    Raises:
        ModelFileError: The file is not ICT-FaceKit in its published vertex order.
    """
    model = read_ict(path)
    if model.n_vertices != N_VERTICES:
        raise ModelFileError(f"{path}: {model.n_vertices} vertices, ICT-FaceKit has {N_VERTICES}")
    neutral = _millimetres(model.mean)
    distance, mirror = cKDTree(neutral).query(neutral * MIRROR)
    if np.median(distance) > 0.01:
        raise ModelFileError(f"{path}: its neutral face is not symmetric, so it is not ICT-FaceKit's")
    identity = _millimetres(np.moveaxis(model.shape_basis, 2, 0))
    reflected = identity[:, mirror] * MIRROR
    raw = {name: _millimetres(model.expression_basis[..., i]) for i, name in enumerate(model.expression_names)}
    neutral = (neutral + neutral[mirror] * MIRROR) / 2
    add_gaze(raw, neutral)
    expressions = arkit_expressions(raw, mirror)
    return Source(
        neutral=closed_lips(neutral, expressions["mouthClose"], model.landmarks.astype(np.intp)),
        triangles=model.triangles.astype(np.intp),
        landmarks=model.landmarks.astype(np.intp),
        mirror=mirror,
        symmetric=(identity + reflected) / 2,
        antisymmetric=(identity - reflected) / 2,
        expressions=expressions,
    )


def add_gaze(raw: dict[str, Floats], neutral: Floats) -> None:
    """Rotate the eyeballs in the eyeLook shapes, in place: ICT-FaceKit's shapes move only the lids.

    At weight 1 the gaze rotates by `GAZE_HALF_TANGENT`. Vertices go straight to their new places, as in any blendshape.
    """
    c = (1 - GAZE_HALF_TANGENT**2) / (1 + GAZE_HALF_TANGENT**2)
    s = 2 * GAZE_HALF_TANGENT / (1 + GAZE_HALF_TANGENT**2)
    for side, ball, outwards in (("L", SCLERAS[0], 1.0), ("R", SCLERAS[1], -1.0)):
        points = neutral[ball.start : ball.stop]
        x, y, z = (points - _ball_centre(points)).T
        for name, away in (("Out", outwards), ("In", -outwards)):
            move = np.stack([(c - 1) * x + away * s * z, np.zeros_like(y), (c - 1) * z - away * s * x], 1)
            raw[f"eyeLook{name}_{side}"][ball.start : ball.stop] += move
        for name, away in (("Up", 1.0), ("Down", -1.0)):
            move = np.stack([np.zeros_like(x), (c - 1) * y + away * s * z, (c - 1) * z - away * s * y], 1)
            raw[f"eyeLook{name}_{side}"][ball.start : ball.stop] += move


def _ball_centre(points: Floats) -> Floats:
    """Return the centre of an eyeball, from the box around it without the cornea's bulge in front."""
    low, high = points.min(0), points.max(0)
    radius = (high[1] - low[1]) / 2
    return np.array([(low[0] + high[0]) / 2, (low[1] + high[1]) / 2, low[2] + radius])


def closed_lips(neutral: Floats, mouth_close: Floats, landmarks: Indices) -> Floats:
    """Close the slit that ICT-FaceKit's neutral face has between its lips, by as much of mouthClose as that takes.

    The slit is measured between the middle landmarks of the inner lips, 62 and 66; it is 0.8 mm high.
    """
    upper, lower = landmarks[62], landmarks[66]
    slit = neutral[upper, 1] - neutral[lower, 1]
    closing = mouth_close[lower, 1] - mouth_close[upper, 1]
    return np.asarray(neutral + slit / closing * mouth_close)


def _millimetres(centimetres: NDArray[np.floating]) -> Floats:
    return np.asarray(centimetres, np.float64) * 10


def arkit_expressions(raw: dict[str, Floats], mirror: Indices) -> dict[str, Floats]:
    """Name ICT-FaceKit's expressions as ARKit does, join the halves that ARKit does not split, and symmetrise.

    ICT-FaceKit writes `_L` and `_R` for ARKit's `Left` and `Right`, and splits browInnerUp and cheekPuff. A left shape
    becomes the mean of itself and its mirrored right counterpart, and a central shape the mean of itself and its mirror
    image, so that mirroring a face exchanges weights exactly.

    Args:
        raw: ICT-FaceKit's names to displacements (V, 3).
        mirror: (V,) index of each vertex's mirror image.

    Returns:
        ARKit's names, in alphabetical order, to displacements (V, 3).
    """
    named: dict[str, Floats] = {}
    for name, displacement in raw.items():
        stem, _, side = name.partition("_")
        if stem in ("browInnerUp", "cheekPuff"):
            named[stem] = named.get(stem, np.zeros_like(displacement)) + displacement
        else:
            named[stem + {"": "", "L": "Left", "R": "Right"}[side]] = displacement
    return {name: (named[name] + named[counterpart(name)][mirror] * MIRROR) / 2 for name in sorted(named)}


def counterpart(name: str) -> str:
    """Return the ARKit shape that mirrors a shape: itself for a central one.

    Example:
        >>> counterpart("jawLeft"), counterpart("jawOpen")
        ('jawRight', 'jawOpen')
    """
    if name.endswith("Left"):
        return name.removesuffix("Left") + "Right"
    return name.removesuffix("Right") + "Left" if name.endswith("Right") else name
