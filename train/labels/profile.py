"""Face profiling: one photo with 3D landmarks becomes views at larger yaw (Zhu et al., CVPR 2016, section 4).

The photo is a grid of points with depth. Over the face, depth is the fitted surface's; a rotation moves these points
rigidly. Around it, the displacement falls smoothly (harmonically) to zero at an anchored frame, and depth to a plane
behind the head, so that the background stretches instead of swinging away. The grid is drawn by a rasteriser with the
photo as its texture: what comes into view beside the face is stretched from its surroundings.

Landmarks, in image pixels with y down and z larger nearer, go through the same rotation exactly.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.linalg import SuperLU, splu

from synergy.crop import landmark_box, square_crop, transform_points
from synergy.geometry import compose_pose, decompose_pose, euler_to_matrix, flip_y, matrix_to_euler
from synergy.raster import rasterize

Floats = NDArray[np.floating]

# Nodes along a side of the grid, and its side in units of the sqrt(2) crop's.
_NODES = 64
_GRID_SIDE = 1.7
# Where the surface recedes faster than this, pixels per pixel, it grazes the view and its outline is noise: left free.
_STEEPEST = 2.5
# Beyond the photo's edge the scene goes on mirrored.
_BORDER = cv2.BORDER_REFLECT_101
# How far behind the face's deepest point the anchored frame lies, and how far behind the drawn surface a landmark may
# be and still count as visible, in units of the sqrt(2) crop's side.
_BEHIND, _VISIBLE_WITHIN = 0.25, 0.03


@dataclass(frozen=True)
class View:
    """A rendered view: image (size, size, 3) uint8 RGB, landmarks (68, 3) in its pixels, visible (68,) bool, pose
    `[s R | t]` (12,) with image y = size - V_y, and the rotation (3, 3) that made it (x right, y up)."""

    image: NDArray[np.uint8]
    landmarks: Floats
    visible: NDArray[np.bool_]
    pose: Floats
    rotation: Floats


def outward_yaws(yaw_deg: float, step_deg: float, limit_deg: float = 90.0) -> list[float]:
    """Yaws beyond `yaw_deg` on its own side, in equal steps, up to `limit_deg`; both sides alternate from zero."""
    side = 1.0 if yaw_deg >= 0 else -1.0
    steps = int((limit_deg - abs(yaw_deg)) / step_deg + 1e-9)
    return [side * (abs(yaw_deg) + step_deg * (i + 1)) for i in range(steps)]


def turn_to(pose: Floats, yaw_deg: float, pitch_deg: float | None = None) -> Floats:
    """Rotation (3, 3) in camera axes, y up, that brings pose (12,) to a yaw (and pitch), its other angles kept."""
    rotation = decompose_pose(torch.from_numpy(np.asarray(pose, np.float64)))[1]
    angles = matrix_to_euler(rotation)
    angles[1] = float(np.deg2rad(yaw_deg))
    if pitch_deg is not None:
        angles[0] = float(np.deg2rad(pitch_deg))
    return (euler_to_matrix(angles) @ rotation.T).numpy()


def rotate_points(points: Floats, rotation: Floats, centre: Floats) -> Floats:
    """Image points (..., 3), y down, turned about `centre` (3,) by a rotation in y-up axes."""
    return flip_y(flip_y(points - centre) @ rotation.T) + centre


class Profiler:
    """One photo, its landmarks and surface, ready to be drawn at any rotation.

    Args:
        image: (H, W, 3) uint8 RGB; any size, best somewhat larger than the views.
        landmarks: (68, 3) in its pixels.
        pose: (12,) `[s R | t]` with image y = H - V_y.
        surface: (V, 3) vertices in its pixels, through the landmarks.
        triangles: (F, 3).
    """

    def __init__(
        self, image: NDArray[np.uint8], landmarks: Floats, pose: Floats, surface: Floats, triangles: NDArray[np.integer]
    ) -> None:
        self.image, self.landmarks, self.pose = image, np.asarray(landmarks, np.float64), np.asarray(pose, np.float64)
        self.centre = self.landmarks.mean(0)
        to_grid = square_crop(landmark_box(self.landmarks), _NODES, 2**0.5 * _GRID_SIDE)
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
            raise ValueError("the face's surface does not cover its own landmarks")
        self._points = np.concatenate([self._source, depth[:, None]], 1)
        self._extension = _Extension(inside)

    def view(self, rotation: Floats, size: int = 120) -> View:
        """Draw the photo after a rotation (3, 3) about the landmarks' mean, cropped as for training."""
        landmarks = rotate_points(self.landmarks, rotation, self.centre)
        crop = square_crop(landmark_box(landmarks), size)
        nodes = transform_points(crop, self._moved(rotation))
        fragments = rasterize(nodes.astype(np.float32), _TRIANGLES, size, size)
        at = fragments.interpolate(self._source.astype(np.float32), _TRIANGLES)
        column, row = np.ascontiguousarray(at[..., 0]), np.ascontiguousarray(at[..., 1])
        drawn = np.asarray(cv2.remap(self.image, column, row, cv2.INTER_LINEAR, borderMode=_BORDER), np.uint8)
        drawn[~fragments.mask] = 0
        landmarks = transform_points(crop, landmarks)
        visible = self._visible(landmarks, fragments.depth, size)
        return View(drawn, landmarks, visible, self._turned(rotation, crop, size), rotation)

    def _moved(self, rotation: Floats) -> Floats:
        """Grid nodes (nodes, 3) after a rotation: rigid on the face, harmonic around it, at rest on the frame."""
        face = self._points[self._face]
        moved = rotate_points(face, rotation, self.centre)
        known = np.concatenate([moved[:, :2] - face[:, :2], moved[:, 2:]], 1)
        frame = np.array([0.0, 0.0, min(face[:, 2].min(), moved[:, 2].min()) - _BEHIND * self._side])
        values = self._extension.extend(known, frame)
        values[:, :2] += self._source
        return values

    def _visible(self, landmarks: Floats, depth: Floats, size: int) -> NDArray[np.bool_]:
        column, row = np.clip(np.rint(landmarks[:, :2]).astype(int), 0, size - 1).T
        return landmarks[:, 2] >= depth[row, column] - _VISIBLE_WITHIN * size

    def _turned(self, rotation: Floats, crop: Floats, size: int) -> Floats:
        """The pose (12,) of the rotated face in the crop."""
        height = len(self.image)
        scale, start, translation = decompose_pose(torch.from_numpy(self.pose))
        # The translation is rotated and cropped as a point of the image, like the landmarks.
        origin = flip_y(translation.numpy(), height)
        origin = flip_y(transform_points(crop, rotate_points(origin, rotation, self.centre)[None])[0], size)
        turned = torch.from_numpy(rotation) @ start
        return compose_pose(scale * crop[0, 0], turned, torch.from_numpy(origin)).numpy()


def _slope(depth: Floats) -> Floats:
    """(H, W) length of the depth gradient, infinite beside pixels without depth."""
    with np.errstate(invalid="ignore"):
        across, down = np.gradient(depth.astype(np.float64))
        return np.nan_to_num(np.hypot(across, down), nan=np.inf)


class _Extension:
    """Harmonic extension on the grid: values given inside a mask and on the frame, smooth in between."""

    def __init__(self, inside: NDArray[np.bool_]) -> None:
        n = inside.shape[0]
        free = ~inside
        free[[0, -1]] = free[:, [0, -1]] = False
        index = np.arange(n * n)
        self._inside, self._free = inside.ravel(), free.ravel()
        self._frame = ~self._inside & ~self._free
        at = index[self._free]
        around = np.stack([at - 1, at + 1, at - n, at + n])
        rows = np.tile(np.arange(len(at)), 4)
        links = coo_matrix((np.ones(rows.size), (rows, around.ravel())), (len(at), n * n)).tocsr()
        diagonal = coo_matrix((np.full(len(at), 4.0), (np.arange(len(at)), np.arange(len(at)))))
        self._links = links
        self._factor: SuperLU = splu((diagonal - links[:, at]).tocsc(), permc_spec="MMD_AT_PLUS_A")

    def extend(self, known: Floats, frame: Floats) -> Floats:
        """(nodes, C) from values (inside, C) and a constant (C,) on the frame."""
        values = np.zeros((self._inside.size, known.shape[1]))
        values[self._inside], values[self._frame] = known, frame
        values[self._free] = self._factor.solve(self._links @ values)
        return values


def _grid_triangles() -> NDArray[np.int32]:
    """(F, 3) two triangles per cell, diagonals alternating."""
    row, column = np.mgrid[: _NODES - 1, : _NODES - 1]
    a = row * _NODES + column
    b, c, d = a + 1, a + _NODES, a + _NODES + 1
    even = ((row + column) % 2 == 0)[..., None, None]
    one = np.stack([np.stack([a, c, d], -1), np.stack([a, d, b], -1)], -2)
    other = np.stack([np.stack([a, c, b], -1), np.stack([b, c, d], -1)], -2)
    return np.where(even, one, other).reshape(-1, 3).astype(np.int32)


_TRIANGLES = _grid_triangles()
