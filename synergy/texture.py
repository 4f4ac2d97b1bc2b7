"""The texture of a face from its photo, with plausible colours where the photo does not show the face.

Each texel of the texture is a place on the mesh (`synergy.uv`), and the mesh is placed in the photo. Its colour is

1. the colour of the photo, where the camera sees the place well;
2. the colour of the mirrored place on the other half of the head, where only that is seen well. The difference in
   brightness between the two halves, known where both are seen, is continued smoothly over the mesh and added;
3. a smooth continuation of the colours around it otherwise (the solution of Laplace's equation on the mesh). In eyes
   and mouth, the difference from the colours of the morphable model is continued instead. Parts of which nothing is
   seen, such as teeth behind closed lips, thus keep the colours of the morphable model.

The three are blended into each other, so that there are no visible borders.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt
from scipy.sparse import coo_array, csr_array, diags_array
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import splu
from scipy.spatial import cKDTree

from bfm_assets import MorphableModel
from synergy.face import Face
from synergy.geometry import flip_y
from synergy.raster import Fragments, facing, rasterize, vertex_normals
from synergy.uv import texture_coordinates
from synergy.visibility import visible_points

Image = NDArray[np.uint8]
Floats = NDArray[np.float32]

# Smallest and largest side of a texture in texels.
_SIZES = (256, 2048)
# Cosines of the angle between the normal of a surface and the direction to the camera. Above the second value, the
# surface is seen well. Below the first value, the photo is not used: there, a small error of the mesh takes the colour
# of something next to the face.
_SEEN = (0.2, 0.45)
# The same outside the face region: neck and skull are often covered, and the mesh is less exact there.
_SEEN_OUTSIDE = (0.4, 0.75)
# Width of the blend at the border of what the camera sees, as a fraction of the side of the texture.
_BLEND = 0.015
# Weight of an observed value against the smoothness between neighbours; and that of zero, on the skin and elsewhere.
# What is seen of the inside of the mouth says little about the rest of it, which is darker or has another colour.
_OBSERVED, _ZERO_ON_SKIN, _ZERO_ELSEWHERE = 10.0, 1e-6, 0.1
# The least weight that is divided by.
_NOTHING = 1e-6
# Number of places that are looked up in one row of a picture.
_ROW = 256


def face_texture(face: Face, image: Image, size: int | None = None) -> Image:
    """Make the texture of a face from its photo.

    Args:
        face: a face of the image, with a dense mesh.
        image: (H, W, 3) uint8 RGB.
        size: side of the texture in texels. By default about the resolution of the face in the photo.

    Returns:
        (size, size, 3) uint8 RGB. Row 0 is v = 1, column 0 is u = 0 (`synergy.uv.texture_coordinates`).

    Raises:
        ValueError: the face has no dense mesh.

    Example:
        >>> from synergy.demo import random_face
        >>> photo = np.full((256, 256, 3), 120, np.uint8)
        >>> face_texture(random_face((0, 20, 0), seed=0), photo, size=256).shape
        (256, 256, 3)
    """
    model, vertices = face.morphable_model, face.vertices()
    size = texture_size(face) if size is None else size
    atlas = _atlas(model, size)
    normals = vertex_normals(vertices, model.triangles)
    photo, weight = _from_photo(image, vertices, normals, model, atlas)
    mesh = _Surface(model, size)
    mirrored, mirrored_weight = _weighted(lambda values: _look_up(values, atlas.mirrored), photo, weight)
    difference = mesh.extend(*_weighted(mesh.sample, photo - mirrored, weight * mirrored_weight))
    mirrored = np.clip(mirrored + atlas.spread(difference), 0, 255)

    seen = weight + (1 - weight) * mirrored_weight
    known = (weight * photo + (1 - weight) * mirrored_weight * mirrored) / np.maximum(seen, _NOTHING)
    known_at_vertex, seen_at_vertex = _weighted(mesh.sample, known, seen)
    own = _own_colours(model, known_at_vertex, seen_at_vertex)
    filled = own + mesh.extend(known_at_vertex - own, seen_at_vertex)
    texture = seen * known + (1 - seen) * atlas.spread(filled)
    # Texels around the parts have the colour of the nearest part, so that filters of 3D programs do not mix in black.
    nearest = distance_transform_edt(~atlas.mask, return_distances=False, return_indices=True)
    return np.clip(np.rint(texture[tuple(nearest)]), 0, 255).astype(np.uint8)


def vertex_colours(face: Face, texture: Image) -> Image:
    """Return the colours (V, 3) uint8 RGB of a face's vertices in its texture (size, size, 3)."""
    sampled = _Surface(face.morphable_model, len(texture)).sample(texture.astype(np.float32))
    return np.rint(sampled).astype(np.uint8)


def texture_size(face: Face) -> int:
    """Return a power of two that gives the texture at least about the resolution of the face in the photo."""
    model = face.morphable_model
    pixels = np.ptp(face.landmarks68[:, 1])
    texels = np.ptp(texture_coordinates(model)[model.landmarks, 1])
    wanted = 1.5 * float(pixels) / max(float(texels), 1e-6)
    return int(np.clip(2 ** np.ceil(np.log2(max(wanted, 1.0))), *_SIZES))


def texel_positions(model: MorphableModel, size: int) -> Floats:
    """Return the positions (V, 2) of the vertices in a texture of a size, with texel centres at integers."""
    uv = texture_coordinates(model)
    return np.stack([uv[:, 0] * size - 0.5, (1 - uv[:, 1]) * size - 0.5], 1).astype(np.float32)


@dataclass(frozen=True, eq=False)
class _Atlas:
    """Where the texels of a texture lie on the mesh.

    Attributes:
        triangles: (F, 3) those triangles of the mesh that are not upside down in the texture.
        fragments: triangle and barycentric weights of each texel.
        mirrored: (size, size, 2) float32 texel that shows the mirrored place of the head.
    """

    triangles: NDArray[np.int32]
    fragments: Fragments
    mirrored: Floats

    @property
    def mask(self) -> NDArray[np.bool_]:
        """Texels (size, size) that belong to the mesh."""
        return self.fragments.mask

    def spread(self, values: NDArray[np.floating]) -> Floats:
        """Interpolate values of the vertices (V, C) at the texels (size, size, C)."""
        return self.fragments.interpolate(values, self.triangles)


@lru_cache(maxsize=4)
def _atlas(model: MorphableModel, size: int) -> _Atlas:
    """Rasterise the mesh in the texture."""
    texels = texel_positions(model, size)
    # Where a projection puts several parts at one place, the outermost gets it.
    outside = np.linalg.norm(model.mean - (model.mean.min(0) + model.mean.max(0)) / 2, axis=1)
    points = np.concatenate([texels, outside[:, None]], 1).astype(np.float32)
    triangles = model.triangles[facing(points, model.triangles)]
    fragments = rasterize(points, triangles, size, size)
    return _Atlas(triangles, fragments, fragments.interpolate(texels[_mirrored_vertices(model)], triangles))


@lru_cache(maxsize=4)
def _mirrored_vertices(model: MorphableModel) -> NDArray[np.intp]:
    """Return for each vertex (V,) the one nearest to its mirror image on the mean face, with a similar normal.

    It is exact for a symmetric mesh.
    """
    normals = flip_y(vertex_normals(flip_y(model.mean), model.triangles))
    # A difference of the normals counts as much as a distance of 2 % of the face's width.
    scale = 0.02 * np.ptp(model.mean[model.landmarks, 0])
    described = np.concatenate([model.mean, scale * normals], 1)
    mirrored = described * [-1, 1, 1, -1, 1, 1]
    return np.asarray(cKDTree(described).query(mirrored)[1])


def _from_photo(
    image: Image, vertices: Floats, normals: NDArray[np.floating], model: MorphableModel, atlas: _Atlas
) -> tuple[Floats, Floats]:
    """Sample the photo at each texel.

    Returns:
        Colours (size, size, 3) in 0..255, and weights (size, size, 1) in 0..1 of how well the camera sees the texel.
    """
    size = len(atlas.mask)
    place = atlas.spread(vertices)
    towards = atlas.spread(normals[:, 2:])[..., 0]
    height, width = image.shape[:2]
    inside = ((place[..., :2] >= 0) & (place[..., :2] <= [width - 1, height - 1])).all(-1)
    limits = np.where(_in_face(model)[:, None], _SEEN, _SEEN_OUTSIDE)
    lower, upper = np.moveaxis(atlas.spread(limits), -1, 0)
    usable = atlas.mask & inside & (towards > lower)
    usable[usable] = visible_points(place[usable], vertices, model.triangles)
    # A border of zeros, because the edge of the texture counts as a border too.
    framed = np.pad(usable.astype(np.uint8), 1)
    border = np.asarray(cv2.distanceTransform(framed, cv2.DIST_L2, 3)[1:-1, 1:-1], np.float32) / (_BLEND * size)
    weight = _smooth_step((towards - lower) / np.maximum(upper - lower, 1e-6)) * _smooth_step(border)
    # A photo that is much finer than the texture is reduced first, so that no pixels are skipped.
    low = np.clip(np.floor(vertices[:, :2].min(0)).astype(int), 0, [width - 1, height - 1])
    high = np.clip(np.ceil(vertices[:, :2].max(0)).astype(int) + 1, low + 1, [width, height])
    part = image[low[1] : high[1], low[0] : high[0]]
    factor = min(1.0, 2.0 * size / max(part.shape))
    if factor < 0.7:
        part = np.asarray(cv2.resize(part, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA), np.uint8)
    else:
        factor = 1.0
    positions = ((place[..., :2] - low + 0.5) * factor - 0.5).astype(np.float32)
    return _look_up(part.astype(np.float32), positions), (weight * usable).astype(np.float32)[..., None]


def _smooth_step(x: Floats) -> Floats:
    """Rise from 0 at 0 to 1 at 1, with slopes of 0 at both."""
    x = np.clip(x, 0, 1)
    return np.asarray(x * x * (3 - 2 * x), np.float32)


def _look_up(picture: Floats, places: Floats) -> Floats:
    """Return the values (..., C) of a picture (H, W, C) at places (..., 2): x and y in pixels, interpolated."""
    flat = places.reshape(-1, 2)
    # OpenCV limits the sides of a picture, not the number of pixels.
    square = np.pad(flat, [(0, -len(flat) % _ROW), (0, 0)]).reshape(-1, _ROW, 2).astype(np.float32)
    sampled = cv2.remap(picture, square[..., 0], square[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    values = np.asarray(sampled, np.float32).reshape(square.shape[0] * _ROW, -1)[: len(flat)]
    return values.reshape(*places.shape[:-1], -1)


def _weighted(sample: Callable[[Floats], Floats], values: Floats, weight: Floats) -> tuple[Floats, Floats]:
    """Sample values (size, size, C) so that those without weight (size, size, 1) do not change the others.

    Returns:
        The sampled values (..., C) and weights (..., 1).
    """
    sampled = sample(weight)
    return np.asarray(sample(weight * values) / np.maximum(sampled, _NOTHING), np.float32), sampled


def _own_colours(model: MorphableModel, known: Floats, weight: Floats) -> Floats:
    """Return a colour (V, 3) for each vertex that does not depend on what is seen of it.

    On the skin, and on a model without colours, it is the mean of the known colours. Eyes, teeth and the inside of the
    mouth have the model's colours.
    """
    mean = (known * weight).sum(0) / max(float(weight.sum()), _NOTHING)
    own = np.tile(mean, (model.n_vertices, 1))
    if model.colours is not None:
        own[~_on_skin(model)] = model.colours[~_on_skin(model)]
    return own


@lru_cache(maxsize=4)
def _on_skin(model: MorphableModel) -> NDArray[np.bool_]:
    """Return which vertices (V,) are connected with the nose; all of them for a model without colours."""
    if model.colours is None:
        return np.ones(model.n_vertices, bool)
    _, part = connected_components(_laplacian(model), directed=False)
    return np.asarray(part == part[model.landmarks[30]])


def _in_face(model: MorphableModel) -> NDArray[np.bool_]:
    """Return which vertices (V,) belong to the face region."""
    return np.ones(model.n_vertices, bool) if model.face_mask is None else model.face_mask


class _Surface:
    """A mesh on which values are known at some vertices and continued smoothly to the others.

    Args:
        model: the morphable model.
        size: side of the texture in texels.
    """

    def __init__(self, model: MorphableModel, size: int) -> None:
        self._texels = texel_positions(model, size)
        self._laplacian = _laplacian(model)
        self._zero = np.where(_on_skin(model), _ZERO_ON_SKIN, _ZERO_ELSEWHERE)

    def sample(self, texture: Floats) -> Floats:
        """Return the values (V, C) of a texture (size, size, C) at the vertices."""
        return _look_up(texture, self._texels)

    def extend(self, values: Floats, weight: Floats) -> Floats:
        """Continue values over the mesh.

        Args:
            values: (V, C).
            weight: (V, 1) in 0..1, how well each value is known.

        Returns:
            (V, C) near the known values, and harmonic (each the mean of its neighbours) elsewhere. In parts of which
            nothing is known it is 0. In other parts than the skin, it falls to 0 away from the known values.
        """
        observed = _OBSERVED * weight.astype(np.float64)
        system = self._laplacian + diags_array(observed[:, 0] + self._zero)
        return np.asarray(splu(system.tocsc()).solve(observed * values), np.float32)


@lru_cache(maxsize=4)
def _laplacian(model: MorphableModel) -> csr_array:
    """Return the Laplacian (V, V) of the mesh's graph: the number of neighbours, and -1 for each neighbour."""
    ends = np.unique(np.sort(model.triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), 1), axis=0)
    both = np.concatenate([ends, ends[:, ::-1]])
    shape = (model.n_vertices, model.n_vertices)
    links = coo_array((np.ones(len(both)), (both[:, 0], both[:, 1])), shape=shape).tocsr()
    return csr_array(diags_array(links.sum(1)) - links)
