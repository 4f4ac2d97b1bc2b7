"""Random faces with exact labels, rendered from a dense morphable model.

Identity, expression, pose, light, colours of skin, eyes and hair, the background and strokes of hair are random. Face
number i of a seed is always the same image.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from bfm_assets import MorphableModel, read_model
from synergy.appearance import random_colours, region_colours
from synergy.camera import project_plain
from synergy.crop import LANDMARK_MARGIN
from synergy.data.sample import OCCLUDED, SELF_OCCLUDED, VISIBLE
from synergy.errors import UserError
from synergy.geometry import centre_depth, compose_pose, euler_to_matrix, flip_y
from synergy.parameters import join_parameters
from synergy.raster import facing, rasterize, vertex_normals
from train.batch import Batch
from train.data import BatchDataset, FaceDataModule

Image = NDArray[np.uint8]
Floats = NDArray[np.floating]

# Standard deviations of pitch and roll, and the largest |yaw|, in degrees.
_PITCH, _ROLL, _YAW = 12.0, 12.0, 85.0
# A landmark is self-occluded if it lies deeper than this fraction of the crop's side behind the visible surface.
_DEPTH_SLACK = 0.03
# Probability that a named expression is active in a face.
_ACTIVE = 0.12


@dataclass(frozen=True, eq=False)
class SyntheticFace:
    """One rendered crop and its labels.

    Attributes:
        image: (side, side, 3) uint8 RGB.
        landmarks68: (68, 3) in crop pixels; z in the same scale, larger is nearer, zero mean.
        visibility68: (68,) values of `synergy.data.sample`.
        params: (12 + S + E,) in crop pixels (`synergy.parameters`).
        pose_deg: (3,) pitch, yaw and roll in degrees.
    """

    image: Image
    landmarks68: NDArray[np.float32]
    visibility68: NDArray[np.int8]
    params: NDArray[np.float32]
    pose_deg: NDArray[np.float32]


def require_mesh(model: MorphableModel) -> None:
    """Check that faces of a morphable model can be rendered.

    Raises:
        UserError: the model has no mesh, as a basis of the 68 landmarks.
    """
    if not model.is_dense:
        raise UserError(f"model '{model.name}' has no mesh: rendering needs a dense one, such as the open face")


def render_face(model: MorphableModel, rng: np.random.Generator, side: int = 120) -> SyntheticFace:
    """Render a random face in 3DDFA's crop, the square of sqrt(2) times the longer side of the box of the landmarks.

    Args:
        model: a morphable model with a mesh.
        rng: source of all random numbers.
        side: side of the crop in pixels.
    """
    shape = 0.8 * model.shape_std * rng.standard_normal(model.n_shape)
    expression = _expression(model, rng)
    mesh = model.vertices(shape, expression)
    pose_deg = np.array([_PITCH * rng.standard_normal(), rng.uniform(-_YAW, _YAW), _ROLL * rng.standard_normal()])
    pose = _pose_in_crop(mesh[model.landmarks], np.radians(pose_deg), side)
    points = project_plain(torch.from_numpy(mesh), torch.from_numpy(pose), side).numpy()

    front = model.triangles[facing(points, model.triangles)]
    fragments = rasterize(points, front, side, side)
    lit = _vertex_colours(model, rng) * _light(vertex_normals(points, model.triangles), rng)
    image = np.where(fragments.mask[..., None], fragments.interpolate(lit, front), _background(rng, side))
    image = np.clip(image, 0, 255).astype(np.uint8)
    image, hidden = _strokes(image, rng)

    landmarks = points[model.landmarks]
    x, y = (np.clip(np.rint(landmarks[:, i]).astype(int), 0, side - 1) for i in (0, 1))
    visibility = np.where(hidden[y, x], OCCLUDED, VISIBLE)
    visibility[fragments.depth[y, x] > landmarks[:, 2] + _DEPTH_SLACK * side] = SELF_OCCLUDED
    return SyntheticFace(
        image=image,
        landmarks68=centre_depth(landmarks).astype(np.float32),
        visibility68=visibility.astype(np.int8),
        params=join_parameters(pose, shape.astype(np.float32), expression.astype(np.float32)),
        pose_deg=pose_deg.astype(np.float32),
    )


def _pose_in_crop(landmarks: Floats, angles: Floats, side: int) -> NDArray[np.float32]:
    """Return the pose (12,) that brings landmarks (68, 3), rotated by angles (3,), to the middle of their crop."""
    rotation = euler_to_matrix(torch.from_numpy(angles)).float()
    rotated = landmarks @ rotation.numpy().T
    low, high = rotated.min(0), rotated.max(0)
    scale = side / (LANDMARK_MARGIN * (high - low)[:2].max())
    middle = flip_y(np.array([(side - 1) / 2, (side - 1) / 2, 0.0]), side)
    translation = middle - scale * (low + high) / 2
    translation[2] = -scale * rotated[:, 2].mean()  # the mean depth of the landmarks is zero, as in all labels
    pose = compose_pose(torch.tensor(float(scale)), rotation, torch.from_numpy(translation).float())
    return np.asarray(pose.numpy(), np.float32)


def _expression(model: MorphableModel, rng: np.random.Generator) -> Floats:
    """Draw expression coefficients (E,): a few named expressions at random weights, or principal components."""
    if not model.expression_names:
        return np.asarray(0.7 * model.expression_std * rng.standard_normal(model.n_expression))
    weights = rng.uniform(size=model.n_expression)
    return np.where(rng.uniform(size=model.n_expression) < _ACTIVE, weights, 0.0)


def _vertex_colours(model: MorphableModel, rng: np.random.Generator) -> Floats:
    """Draw colours (V, 3) of the vertices: skin, hair and irises where the model has regions, else only a skin."""
    colours = random_colours(rng)
    if model.region_weights is None:
        painted = np.tile(colours["skin"], (model.n_vertices, 1))
    else:
        painted = region_colours(model, **colours).astype(np.float64)
    return painted * rng.uniform(0.92, 1.08, 3) + rng.normal(0, 4, (model.n_vertices, 1))


def _light(normals: Floats, rng: np.random.Generator) -> Floats:
    """Return the brightness (V, 3) of each channel under ambient light and one coloured lamp in front of the face."""
    direction = rng.normal(size=3) * [1.0, 1.0, 0.5] + [0.0, -0.4, 1.2]
    direction /= np.linalg.norm(direction)
    diffuse = np.clip(normals @ direction, 0, None)[:, None] * rng.uniform(0.8, 1.2, 3)
    ambient = rng.uniform(0.2, 0.6)
    return ambient + (1.1 - ambient) * diffuse


def _background(rng: np.random.Generator, side: int) -> Floats:
    """Return a background (side, side, 3) of blurred noise around a random colour."""
    cells = int(rng.integers(2, 30))
    noise = rng.normal(0, rng.uniform(5, 60), (cells, cells, 3)) + rng.uniform(0, 255, 3)
    return np.asarray(cv2.resize(noise, (side, side), interpolation=cv2.INTER_CUBIC))


def _strokes(image: Image, rng: np.random.Generator) -> tuple[Image, NDArray[np.bool_]]:
    """Draw strands of hair across some faces. Returns the image and a mask (side, side) of the strands."""
    side = len(image)
    mask = np.zeros((side, side), np.uint8)
    if rng.uniform() < 0.4:
        start = rng.uniform([0.1, 0.0], [0.9, 0.2])
        for _ in range(int(rng.integers(5, 40))):
            path = start + np.cumsum(rng.normal([0.0, 0.06], 0.03, (10, 2)), 0) + rng.normal(0, 0.06, 2)
            cv2.polylines(mask, [np.rint(path * side).astype(np.int32)], False, 1, int(rng.integers(1, 3)))
    image = image.copy()
    image[mask > 0] = rng.uniform(10, 140) * rng.uniform(0.7, 1.0, 3)
    return image, mask > 0


class SyntheticSet(BatchDataset):
    """Rendered faces of a seed.

    Args:
        model: a morphable model with a mesh.
        seed: face i of a seed is always the same.
        length: number of faces.
        keep: keep each face in memory after it was rendered once.

    Raises:
        UserError: the model has no mesh.
    """

    def __init__(self, model: MorphableModel, seed: int, length: int, keep: bool) -> None:
        require_mesh(model)
        self.model, self.seed, self.length = model, seed, length
        self._kept: dict[int, SyntheticFace] | None = {} if keep else None

    def __len__(self) -> int:
        return self.length

    def face(self, index: int) -> SyntheticFace:
        """Return face number `index`."""
        if self._kept is not None and index in self._kept:
            return self._kept[index]
        face = render_face(self.model, np.random.default_rng([self.seed, index]))
        if self._kept is not None:
            self._kept[index] = face
        return face

    def __getitem__(self, indices: list[int]) -> Batch:
        faces = [self.face(index) for index in indices]
        landmarks = torch.from_numpy(np.stack([face.landmarks68 for face in faces]))
        return Batch(
            image=torch.from_numpy(np.stack([face.image for face in faces])).permute(0, 3, 1, 2),
            landmarks=landmarks,
            visibility=torch.from_numpy(np.stack([face.visibility68 for face in faces])),
            params=torch.from_numpy(np.stack([face.params for face in faces])),
            weight=torch.ones(len(faces)),
            annotated68=landmarks[..., :2],
            yaw=torch.from_numpy(np.stack([face.pose_deg[1] for face in faces])),
        )


class SyntheticData(FaceDataModule):
    """Rendered faces for training and validation.

    Args:
        model: name or file of the morphable model, for rendering and for the network. It needs a mesh.
        batch_size: number of samples per process and step.
        faces: number of different training faces.
        keep: keep rendered faces in memory. docs/training.md has the time that a face takes.
        validation_faces: number of validation faces, and of faces for calibration. Each have another seed.
        workers: number of processes that render training faces; 0 renders in the training process.
        seed: of the faces and of their order.
    """

    def __init__(
        self,
        model: str = "open_face",
        batch_size: int = 32,
        faces: int = 1_000_000,
        keep: bool = False,
        validation_faces: int = 128,
        workers: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size, seed, workers)
        morphable_model = read_model(model)
        self.facts = {"synthetic": faces, "seed": seed}
        self.train_set = SyntheticSet(morphable_model, seed, faces, keep)
        self.frequency = np.ones(faces)
        self.calibration_set = SyntheticSet(morphable_model, seed + 2_000_000, validation_faces, True)
        self.validation_sets = {"synthetic": SyntheticSet(morphable_model, seed + 1_000_000, validation_faces, True)}
