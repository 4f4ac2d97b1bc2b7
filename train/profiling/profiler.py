"""Face profiling: draw one photo with 3D landmarks at larger yaw (Zhu et al., CVPR 2016, section 4).

The photo becomes a grid of points with depth. On the face, the depth is that of the fitted surface, and a rotation
moves the points rigidly. Around the face, the displacement falls harmonically to zero at a fixed border, and the depth
falls to a plane behind the head. The background is therefore stretched instead of rotated. The grid is drawn by the
rasteriser with the photo as texture.

Landmarks are in image pixels, y down, larger z nearer. They go through exactly the same rotation.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.linalg import SuperLU, splu

from bfm_assets.schema import MorphableModel
from synergy.crop import LANDMARK_MARGIN, landmark_box, square_crop, transform_points, warp
from synergy.geometry import euler_to_matrix, flip_y, matrix_to_euler
from synergy.raster import rasterize
from train.profiling.surface import SurfaceFitter

Floats = NDArray[np.floating]

# Number of nodes along a side of the grid, and side of the grid relative to that of the training crop.
_NODES = 64
_GRID_SIDE = 1.7
# Largest depth gradient, pixels per pixel, at which a node belongs to the face. Where the surface is seen at a grazing
# angle, its outline is noisy.
_STEEPEST = 2.5
# A photo with more than this many times the resolution of the training crop is reduced to it. The crop that is kept is
# wider by the margin.
_TEXTURE_MARGIN, _TEXTURE_ZOOM = 1.6, 2.0
# Outside the photo, the image is continued by reflection.
_BORDER = cv2.BORDER_REFLECT_101
# Depth of the fixed border behind the deepest point of the face, and depth behind the drawn surface up to which a
# landmark counts as visible; both relative to the side of the training crop.
_BEHIND, _VISIBLE_WITHIN = 0.25, 0.03


@dataclass(frozen=True)
class View:
    """A profiled image.

    Attributes:
        image: (size, size, 3) uint8 RGB.
        landmarks: (68, 3) in its pixels.
        visible: (68,) whether each landmark is not hidden behind the face.
        rotation: (3, 3) in camera axes, by which the face was rotated about `centre`.
        centre: (3,) in pixels of the photo, y down.
        crop: (2, 3) affine map from pixels of the photo, after the rotation, to those of `image`.
    """

    image: NDArray[np.uint8]
    landmarks: Floats
    visible: NDArray[np.bool_]
    rotation: Floats
    centre: Floats
    crop: Floats


class FaceProfiler:
    """Draw profiled images of photos.

    Args:
        model: a morphable model with a mesh.
        step_deg: step of yaw between the images of one photo.
        size: side of the images in pixels.
    """

    def __init__(self, model: MorphableModel, step_deg: float, size: int) -> None:
        self._fitter, self._step_deg, self._size = SurfaceFitter(model), step_deg, size

    def draw(self, photo: NDArray[np.uint8], landmarks: Floats, rotation: Floats) -> list[View]:
        """Draw a face at all yaws beyond its own, in equal steps up to 90 degrees.

        Args:
            photo: (H, W, 3) uint8 RGB.
            landmarks: (68, 3) in its pixels.
            rotation: (3, 3) of the face, from model to camera axes.
        """
        (surface,) = self._fitter.surfaces(landmarks[None], rotation[None])
        profiler = Profiler(photo, landmarks, surface, self._fitter.model.triangles, self._size)
        angles = matrix_to_euler(torch.from_numpy(rotation))
        yaws_deg = outward_yaws(float(angles[1].rad2deg()), self._step_deg)
        return [profiler.view(rotation_to_yaw(rotation, yaw_deg)) for yaw_deg in yaws_deg]


def outward_yaws(yaw_deg: float, step_deg: float) -> list[float]:
    """Return the yaws beyond `yaw_deg` on its own side, in equal steps up to 90 degrees."""
    side = 1.0 if yaw_deg >= 0 else -1.0
    steps = int((90 - abs(yaw_deg)) / step_deg + 1e-9)
    return [side * (abs(yaw_deg) + step_deg * (i + 1)) for i in range(steps)]


def rotation_to_yaw(rotation: Floats, yaw_deg: float) -> Floats:
    """Return the rotation (3, 3), in camera axes, that changes the yaw of `rotation` (3, 3), not its pitch and roll."""
    before = torch.from_numpy(rotation)
    angles = matrix_to_euler(before)
    angles[1] = float(np.deg2rad(yaw_deg))
    return (euler_to_matrix(angles) @ before.mT).numpy()


def rotate_points(points: Floats, rotation: Floats, centre: Floats) -> Floats:
    """Rotate image points (..., 3), y down, about `centre` (3,) by a rotation (3, 3) in camera axes, y up."""
    return flip_y(flip_y(points - centre) @ rotation.T) + centre


class Profiler:
    """Draw one photo at any rotation of the face.

    Args:
        photo: (H, W, 3) uint8 RGB of any size.
        landmarks: (68, 3) in its pixels.
        surface: (V, 3) vertices in its pixels, y down, through the landmarks.
        triangles: (F, 3).
        size: side of the images to draw, in pixels.

    Raises:
        ValueError: the surface does not cover its landmarks.
    """

    def __init__(
        self,
        photo: NDArray[np.uint8],
        landmarks: Floats,
        surface: Floats,
        triangles: NDArray[np.integer],
        size: int,
    ) -> None:
        self.landmarks, self.centre, self.size = landmarks, landmarks.mean(0), size
        self._texture, self._to_texture = _texture(photo, landmarks, size)
        to_grid = square_crop(landmark_box(landmarks), _NODES, LANDMARK_MARGIN * _GRID_SIDE)
        self._side = _NODES / to_grid[0, 0] / _GRID_SIDE
        fragments = rasterize(transform_points(to_grid, surface).astype(np.float32), triangles, _NODES, _NODES)
        row, column = np.mgrid[:_NODES, :_NODES]
        xy = (np.stack([column, row], -1) - to_grid[:, 2]) / to_grid[0, 0]
        self._source = xy.reshape(-1, 2)
        depth = fragments.depth.astype(np.float64).ravel() / to_grid[0, 0]
        inside = fragments.mask & (_slope(fragments.depth) < _STEEPEST)
        inside[[0, -1]] = inside[:, [0, -1]] = False
        self._face = inside.ravel()
        if not self._face.any():
            raise ValueError("the surface of the face does not cover its landmarks")
        self._points = np.concatenate([self._source, depth[:, None]], 1)
        self._extension = _Extension(inside)

    def view(self, rotation: Floats) -> View:
        """Draw the photo after a rotation (3, 3), in camera axes, about the mean landmark, cropped as for training."""
        landmarks = rotate_points(self.landmarks, rotation, self.centre)
        crop = square_crop(landmark_box(landmarks), self.size)
        nodes = transform_points(crop, self._moved(rotation))
        fragments = rasterize(nodes.astype(np.float32), _TRIANGLES, self.size, self.size)
        texture = transform_points(self._to_texture, self._source).astype(np.float32)
        column, row = np.moveaxis(fragments.interpolate(texture, _TRIANGLES), -1, 0).copy()
        drawn = np.asarray(cv2.remap(self._texture, column, row, cv2.INTER_LINEAR, borderMode=_BORDER), np.uint8)
        drawn[~fragments.mask] = 0
        landmarks = transform_points(crop, landmarks)
        visible = self._visible(landmarks, fragments.depth)
        return View(drawn, landmarks, visible, rotation, self.centre, crop)

    def _moved(self, rotation: Floats) -> Floats:
        """Return the grid nodes (nodes, 3) after a rotation: rigid on the face, harmonic around it, fixed border."""
        face = self._points[self._face]
        moved = rotate_points(face, rotation, self.centre)
        known = np.concatenate([moved[:, :2] - face[:, :2], moved[:, 2:]], 1)
        border = np.array([0.0, 0.0, min(face[:, 2].min(), moved[:, 2].min()) - _BEHIND * self._side])
        values = self._extension.extend(known, border)
        values[:, :2] += self._source
        return values

    def _visible(self, landmarks: Floats, depth: Floats) -> NDArray[np.bool_]:
        column, row = np.clip(np.rint(landmarks[:, :2]).astype(int), 0, self.size - 1).T
        return landmarks[:, 2] >= depth[row, column] - _VISIBLE_WITHIN * self.size


def _texture(photo: NDArray[np.uint8], landmarks: Floats, size: int) -> tuple[NDArray[np.uint8], Floats]:
    """Return the part of a photo to draw from, at a useful resolution, and the affine map (2, 3) from photo pixels."""
    if _TEXTURE_ZOOM * square_crop(landmark_box(landmarks), size)[0, 0] >= 1:
        return photo, np.eye(2, 3)
    side = round(_TEXTURE_MARGIN * _TEXTURE_ZOOM * size)
    affine = square_crop(landmark_box(landmarks), side, LANDMARK_MARGIN * _TEXTURE_MARGIN)
    return warp(photo, affine, side), affine


def _slope(depth: Floats) -> Floats:
    """Return the length (H, W) of the depth gradient, infinite next to pixels without depth."""
    with np.errstate(invalid="ignore"):
        across, down = np.gradient(depth.astype(np.float64))
        return np.nan_to_num(np.hypot(across, down), nan=np.inf)


class _Extension:
    """Harmonic extension on the grid: values are given inside a mask and on the border, and smooth in between."""

    def __init__(self, inside: NDArray[np.bool_]) -> None:
        n = inside.shape[0]
        free = ~inside
        free[[0, -1]] = free[:, [0, -1]] = False
        index = np.arange(n * n)
        self._inside, self._free = inside.ravel(), free.ravel()
        self._border = ~self._inside & ~self._free
        nodes = index[self._free]
        neighbours = np.stack([nodes - 1, nodes + 1, nodes - n, nodes + n])
        rows = np.tile(np.arange(len(nodes)), 4)
        links = coo_matrix((np.ones(rows.size), (rows, neighbours.ravel())), (len(nodes), n * n)).tocsr()
        diagonal = coo_matrix((np.full(len(nodes), 4.0), (np.arange(len(nodes)), np.arange(len(nodes)))))
        self._links = links
        self._factor: SuperLU = splu((diagonal - links[:, nodes]).tocsc(), permc_spec="MMD_AT_PLUS_A")

    def extend(self, known: Floats, border: Floats) -> Floats:
        """Return values (nodes, C) from those inside the mask (M, C) and a constant (C,) on the border."""
        values = np.zeros((self._inside.size, known.shape[1]))
        values[self._inside], values[self._border] = known, border
        values[self._free] = self._factor.solve(self._links @ values)
        return values


def _grid_triangles() -> NDArray[np.int32]:
    """Return two triangles per cell of the grid (F, 3), with alternating diagonals."""
    row, column = np.mgrid[: _NODES - 1, : _NODES - 1]
    a = row * _NODES + column
    b, c, d = a + 1, a + _NODES, a + _NODES + 1
    even = ((row + column) % 2 == 0)[..., None, None]
    one = np.stack([np.stack([a, c, d], -1), np.stack([a, d, b], -1)], -2)
    other = np.stack([np.stack([a, c, b], -1), np.stack([b, c, d], -1)], -2)
    return np.where(even, one, other).reshape(-1, 3).astype(np.int32)


_TRIANGLES = _grid_triangles()
