"""Rasterisation: find the triangle that covers each pixel.

There are two rasterisers, a vectorised z-buffer on the CPU and pytorch3d's. `rasterizer` returns either by name. Both
give the same `Fragments`, except for pixels that lie exactly on an edge: pytorch3d leaves them empty.

Points are in image space (`synergy.geometry`): x right, y down in pixels with centres at integers, z larger is nearer.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from synergy.camera import has_pytorch3d
from synergy.errors import UserError

Floats = NDArray[np.float32]

# Number of candidate pixels that are processed at once. It limits the memory that large triangles need.
_CHUNK = 1 << 19
# A pixel belongs to a triangle if its three barycentric weights are at least minus this, so that rounding leaves no gap
# between neighbours.
_TOLERANCE = 1e-9
# Triangles of less than half this area in square pixels are not drawn.
_MIN_AREA = 1e-12


@dataclass(frozen=True, eq=False)
class Fragments:
    """What a rasteriser finds at each pixel of an H x W image.

    Attributes:
        face_index: (H, W) int32 index of the triangle nearest to the camera, -1 where there is no triangle.
        barycentric: (H, W, 3) float32 weights of that triangle's corners, 0 where there is no triangle.
        depth: (H, W) float32 interpolated z, -inf where there is no triangle.
    """

    face_index: NDArray[np.int32]
    barycentric: Floats
    depth: Floats

    @cached_property
    def mask(self) -> NDArray[np.bool_]:
        """The pixels (H, W) that the mesh covers."""
        return self.face_index >= 0

    def interpolate(self, values: NDArray[np.floating], triangles: NDArray[np.integer]) -> Floats:
        """Interpolate vertex attributes at every pixel.

        Args:
            values: (V, C) attributes of the vertices.
            triangles: (F, 3) the triangles that were rasterised.

        Returns:
            (H, W, C) float32, 0 where there is no triangle.
        """
        out = np.zeros((*self.face_index.shape, values.shape[-1]), np.float32)
        out[self.mask] = self.interpolate_covered(values, triangles)
        return out

    def interpolate_covered(self, values: NDArray[np.floating], triangles: NDArray[np.integer]) -> Floats:
        """Interpolate vertex attributes at the P pixels of `mask`, in its order; see `interpolate`.

        Returns:
            (P, C) float32.
        """
        corners = triangles[self.face_index[self.mask]]
        weights = self.barycentric[self.mask]
        single = np.asarray(values, np.float32)
        return np.asarray(sum(single[corners[:, k]] * weights[:, k, None] for k in range(3)), np.float32)


Rasterizer = Callable[[Floats, NDArray[np.integer], int, int], Fragments]


def rasterizer(name: str) -> Rasterizer:
    """Return a rasteriser by name.

    Args:
        name: "builtin" (`rasterize`) or "pytorch3d" (`rasterize_pytorch3d`).

    Raises:
        UserError: pytorch3d is not installed.
    """
    if name == "builtin":
        return rasterize
    if not has_pytorch3d():
        raise UserError("--renderer pytorch3d: pytorch3d is not installed; README.md says how to build it")
    return rasterize_pytorch3d


def rasterize(points: Floats, triangles: NDArray[np.integer], height: int, width: int) -> Fragments:
    """Find the nearest triangle at each pixel by a vectorised z-buffer on the CPU.

    Triangles of both windings are drawn. To leave out the back of a mesh, select triangles with `facing` first.

    Args:
        points: (V, 3) in image space.
        triangles: (F, 3) indices of points.
        height: height of the image in pixels.
        width: width of the image in pixels.

    Example:
        >>> points = np.array([[0, 0, 5], [3, 0, 5], [0, 3, 5]], np.float32)
        >>> rasterize(points, np.array([[0, 1, 2]]), height=3, width=4).mask.astype(int).tolist()
        [[1, 1, 1, 1], [1, 1, 1, 0], [1, 1, 0, 0]]
    """
    corners = np.asarray(points, np.float64)[triangles]
    nearest = np.full(height * width, -np.inf)
    face_index = np.full(height * width, -1, np.int32)
    for spans in _chunks(_spans(corners, height, width)):
        span = np.repeat(np.arange(len(spans.face), dtype=np.int32), spans.length)
        step = np.arange(len(span)) - (np.cumsum(spans.length) - spans.length)[span]
        pixel = spans.pixel[span] + step
        depth = spans.depth[span] + spans.slope[span] * step
        face = spans.face[span]
        # Each pass writes the candidates that are nearer than what is stored. Several candidates of one pixel overwrite
        # each other in any order, so passes follow until no candidate is nearer. Of triangles at equal depth the one
        # with the lowest index is drawn.
        while len(pixel):
            stored = nearest[pixel]
            nearer = (depth > stored) | ((depth == stored) & (face < face_index[pixel]))
            pixel, depth, face = pixel[nearer], depth[nearer], face[nearer]
            nearest[pixel], face_index[pixel] = depth, face
    covered = np.flatnonzero(face_index >= 0)
    weights = np.zeros((height * width, 3), np.float32)
    weights[covered] = _barycentric(corners, face_index[covered], covered % width, covered // width)
    shape = (height, width)
    return Fragments(face_index.reshape(shape), weights.reshape(*shape, 3), nearest.reshape(shape).astype(np.float32))


class _Spans(NamedTuple):
    """Horizontal runs of pixels, each inside one triangle.

    Attributes:
        face: (N,) int32 index of the triangle.
        pixel: (N,) flat index of the leftmost pixel.
        length: (N,) number of pixels, at least 1.
        depth: (N,) z of the triangle at the leftmost pixel.
        slope: (N,) change of z from one pixel to the next.
    """

    face: NDArray[np.int32]
    pixel: NDArray[np.int64]
    length: NDArray[np.int64]
    depth: NDArray[np.float64]
    slope: NDArray[np.float64]


def _spans(corners: NDArray[np.float64], height: int, width: int) -> _Spans:
    """Find the pixels inside each triangle, row by row.

    Args:
        corners: (F, 3, 3) corners of the triangles in image space.
        height: height of the image in pixels.
        width: width of the image in pixels.
    """
    xy, z = corners[..., :2], corners[..., 2]
    top = np.maximum(np.ceil(xy[..., 1].min(1)), 0).astype(np.int64)
    bottom = np.minimum(np.floor(xy[..., 1].max(1)), height - 1).astype(np.int64)
    gradient, area = _gradients(xy)
    rows = np.where(np.abs(area) > _MIN_AREA, np.maximum(bottom - top + 1, 0), 0)
    face = np.repeat(np.arange(len(corners), dtype=np.int32), rows)
    y = np.arange(len(face)) - (np.cumsum(rows) - rows - top)[face]
    # Along a row each barycentric weight is a linear function of x - x0, where x0 is the first corner. Where it rises,
    # it limits the pixels on the left, where it falls, on the right.
    dx = gradient[face, :, 0]
    at_corner = gradient[face, :, 1] * (y - xy[face, 0, 1])[:, None] + [1.0, 0.0, 0.0]
    with np.errstate(divide="ignore", invalid="ignore"):
        limit = -(at_corner + _TOLERANCE) / dx
    x0 = xy[face, 0, 0]
    left = np.ceil(np.where(dx > 0, limit, -np.inf).max(1) + x0)
    right = np.floor(np.where(dx < 0, limit, np.inf).min(1) + x0)
    left, right = np.maximum(left, 0), np.minimum(right, width - 1)
    inside = (right >= left) & ((dx != 0) | (at_corner >= -_TOLERANCE)).all(1)
    face, y, x0, left, right = face[inside], y[inside], x0[inside], left[inside], right[inside]
    weights = at_corner[inside] + dx[inside] * (left - x0)[:, None]
    depth, slope = (weights * z[face]).sum(1), (dx[inside] * z[face]).sum(1)
    first = left.astype(np.int64)
    return _Spans(face, y * width + first, right.astype(np.int64) - first + 1, depth, slope)


def _gradients(xy: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Differentiate the barycentric weights of triangles with respect to the position.

    Args:
        xy: (F, 3, 2) corners.

    Returns:
        Derivatives (F, 3, 2) of the three weights with respect to x and y, and twice the signed areas (F,).
    """
    a, b = xy[:, 1] - xy[:, 0], xy[:, 2] - xy[:, 0]
    area = a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]
    with np.errstate(divide="ignore", invalid="ignore"):
        second = np.stack([b[:, 1], -b[:, 0]], 1) / area[:, None]
        third = np.stack([-a[:, 1], a[:, 0]], 1) / area[:, None]
        return np.stack([-second - third, second, third], 1), area


def _barycentric(
    corners: NDArray[np.float64], face: NDArray[np.int32], x: NDArray[np.int64], y: NDArray[np.int64]
) -> Floats:
    """Return the barycentric weights (N, 3) of pixels (N,) in the triangles (N,) that cover them."""
    gradient = _gradients(corners[..., :2])[0]
    dx, dy = x - corners[face, 0, 0], y - corners[face, 0, 1]
    second, third = (gradient[face, k, 0] * dx + gradient[face, k, 1] * dy for k in (1, 2))
    return np.stack([1 - second - third, second, third], 1).astype(np.float32)


def _chunks(spans: _Spans) -> Iterator[_Spans]:
    """Split spans into groups of about `_CHUNK` pixels each."""
    boundaries = np.flatnonzero(np.diff(np.cumsum(spans.length) // _CHUNK)) + 1
    for start, end in itertools.pairwise([0, *boundaries.tolist(), len(spans.face)]):
        part = slice(start, end)
        yield _Spans(spans.face[part], spans.pixel[part], spans.length[part], spans.depth[part], spans.slope[part])


def facing(points: Floats, triangles: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Find the triangles whose outer side faces the camera.

    Args:
        points: (V, 3) in image space.
        triangles: (F, 3), counter-clockwise in model space when seen from outside.

    Returns:
        (F,) bool.
    """
    a, b, c = (points[triangles[:, i], :2] for i in range(3))
    # Image y points down. The signed area of a counter-clockwise triangle is therefore negative.
    cross = (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (b[:, 1] - a[:, 1]) * (c[:, 0] - a[:, 0])
    return cross < 0


def vertex_normals(vertices: NDArray[np.floating], triangles: NDArray[np.integer]) -> NDArray[np.floating]:
    """Return unit normals (V, 3) of vertices, the mean of the triangles' normals weighted by area.

    Args:
        vertices: (V, 3) in image space (x right, y down, z towards the camera).
        triangles: (F, 3) vertex indices.

    Returns:
        (V, 3) outward normals in image space.
    """
    a, b, c = (vertices[triangles[:, i]] for i in range(3))
    # Image space is left-handed. The outward normal is therefore the negative cross product.
    face = -np.cross(b - a, c - a)
    normals = np.stack([np.bincount(triangles.ravel(), np.repeat(face[:, i], 3), len(vertices)) for i in range(3)], 1)
    return normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)


def rasterize_pytorch3d(points: Floats, triangles: NDArray[np.integer], height: int, width: int) -> Fragments:
    """Find the nearest triangle at each pixel with pytorch3d, on the GPU if there is one. See `rasterize`."""
    import torch
    from pytorch3d.renderer.mesh.rasterize_meshes import rasterize_meshes  # type: ignore[import-not-found, unused-ignore]
    from pytorch3d.structures import Meshes  # type: ignore[import-not-found, unused-ignore]

    device = "cuda" if torch.cuda.is_available() else "cpu"
    # pytorch3d's normalised device coordinates: the shorter side of the image spans [-1, 1]. x points left, y up and z
    # away from the camera; z must be positive.
    half = min(height, width) / 2
    nearest = float(points[:, 2].max())
    ndc = np.stack(
        [(width / 2 - 0.5 - points[:, 0]) / half, (height / 2 - 0.5 - points[:, 1]) / half, nearest - points[:, 2] + 1],
        1,
    )
    mesh = Meshes(
        [torch.from_numpy(ndc.astype(np.float32)).to(device)], [torch.from_numpy(triangles.astype(np.int64)).to(device)]
    )
    face, _, barycentric, _ = rasterize_meshes(mesh, (height, width), blur_radius=0.0, faces_per_pixel=1, bin_size=0)
    face_index = face[0, ..., 0].cpu().numpy().astype(np.int32)
    covered = face_index >= 0
    weights = np.where(covered[..., None], barycentric[0, ..., 0, :].cpu().numpy(), 0).astype(np.float32)
    z = np.einsum("hwk,hwk->hw", points[triangles[face_index], 2], weights)
    return Fragments(face_index, weights, np.where(covered, z, -np.inf).astype(np.float32))
