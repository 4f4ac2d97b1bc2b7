"""Rasterisation: find the triangle that covers each pixel.

There are two rasterisers, a vectorised z-buffer on the CPU and pytorch3d's. `rasterizer` returns either by name. Both
give the same `Fragments`, except for pixels that lie exactly on an edge: pytorch3d leaves them empty.

Points are in image space (`synergy.geometry`): x right, y down in pixels with centres at integers, z larger is nearer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from synergy.camera import has_pytorch3d
from synergy.errors import UserError

Floats = NDArray[np.float32]

# Number of candidate pixels that are processed at once. It limits the memory that large triangles need.
_CHUNK = 1 << 20


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

    @property
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
        corners = values[triangles[self.face_index[self.mask]]]
        out[self.mask] = np.einsum("pkc,pk->pc", corners, self.barycentric[self.mask])
        return out


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
    points = np.asarray(points, np.float64)
    corners = points[triangles]
    xy = corners[..., :2]
    low = np.maximum(np.ceil(xy.min(1)).astype(np.int64), 0)
    high = np.minimum(np.floor(xy.max(1)).astype(np.int64), [width - 1, height - 1])
    edges = xy[:, 1:] - xy[:, :1]
    area = edges[:, 0, 0] * edges[:, 1, 1] - edges[:, 0, 1] * edges[:, 1, 0]
    extent = np.maximum(high - low + 1, 0)
    counts = extent.prod(1) * (np.abs(area) > 1e-12)

    nearest = np.full(height * width, -np.inf, np.float64)
    face_index = np.full(height * width, -1, np.int32)
    weights = np.zeros((height * width, 3), np.float32)
    faces = np.flatnonzero(counts)
    for chunk in _chunks(faces, counts[faces]):
        face = np.repeat(chunk, counts[chunk])
        ordinal = np.arange(len(face)) - np.repeat(np.cumsum(counts[chunk]) - counts[chunk], counts[chunk])
        x = low[face, 0] + ordinal % extent[face, 0]
        y = low[face, 1] + ordinal // extent[face, 0]
        offset = np.stack([x, y], 1) - xy[face, 0]
        e = edges[face]
        b1 = (offset[:, 0] * e[:, 1, 1] - offset[:, 1] * e[:, 1, 0]) / area[face]
        b2 = (e[:, 0, 0] * offset[:, 1] - e[:, 0, 1] * offset[:, 0]) / area[face]
        bary = np.stack([1 - b1 - b2, b1, b2], 1)
        inside = (bary >= -1e-9).all(1)
        face, bary, pixel = face[inside], bary[inside], (y * width + x)[inside]
        depth = (bary * corners[face, :, 2]).sum(1)
        # The nearest triangle comes last and therefore overwrites the others. Of triangles at equal depth the one with
        # the lowest index is drawn.
        order = np.lexsort((-face, depth))
        pixel, depth, face, bary = pixel[order], depth[order], face[order], bary[order]
        winner = np.full(height * width, -1, np.int64)
        winner[pixel] = np.arange(len(pixel))
        covered = np.flatnonzero(winner >= 0)
        index = winner[covered]
        nearer = depth[index] > nearest[covered]
        covered, index = covered[nearer], index[nearer]
        nearest[covered], face_index[covered], weights[covered] = depth[index], face[index], bary[index]
    shape = (height, width)
    return Fragments(face_index.reshape(shape), weights.reshape(*shape, 3), nearest.reshape(shape).astype(np.float32))


def _chunks(faces: NDArray[np.int64], counts: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Split triangles into groups that have about `_CHUNK` candidate pixels each."""
    boundaries = np.flatnonzero(np.diff(np.cumsum(counts) // _CHUNK)) + 1
    return np.split(faces, boundaries)


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
