"""The result of a prediction: one `Face` per face, in numpy arrays and image pixels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from bfm_assets import MorphableModel, open_face
from synergy.blendshapes import blendshape_weights
from synergy.crop import affine_scale, compose_affine, invert_affine, transform_points
from synergy.errors import UserError, describe
from synergy.geometry import decompose_pose, euler_to_matrix, flip_y, matrix_to_euler
from synergy.head_pose import likely_angles
from synergy.models.face_model import LinearFaceModel
from synergy.parameters import count_parameters, join_parameters, split_parameters, split_pose

Floats = NDArray[np.float32]


class Direction(NamedTuple):
    """Where the nose points, in degrees. Both angles are 0 for a face that looks at the camera.

    Attributes:
        azimuth: angle to the side, in -180..180. Positive points to the image's left, as positive yaw does. 90 is a
            profile, 180 points away from the camera.
        elevation: angle above the horizontal plane, in -90..90. Positive points up in the image, as positive pitch.
    """

    azimuth: float
    elevation: float


@dataclass(frozen=True, eq=False)
class Pose:
    """Head pose in the convention of `synergy.geometry` and AFLW2000-3D.

    Attributes:
        pitch: in degrees, positive looks up. Near profile the three angles are the most likely ones
            (`synergy.head_pose`), elsewhere exactly those of `matrix`. They describe the rotation in the image: an
            upside-down face has a roll of 180 degrees.
        yaw: in degrees, positive turns the nose to the image's left.
        roll: in degrees, positive lowers the eye on the image's right.
        matrix: (3, 3) float32 predicted rotation, from model space (x right, y up, z to the camera) to camera space.
        scale: image pixels per unit of the morphable model.

    Example:
        >>> params = np.zeros(12, np.float32)
        >>> params[[0, 5, 10]] = 0.5  # a face that looks straight at the camera
        >>> pose = pose_from_params(params, crop=np.array([[1.0, 0, 0], [0, 1.0, 0]]))
        >>> abs(round(pose.yaw, 3)), pose.scale
        (0.0, 0.5)
    """

    pitch: float
    yaw: float
    roll: float
    matrix: Floats = field(repr=False)
    scale: float


@dataclass(frozen=True, eq=False)
class Face:
    """One face in an image. Points are in image pixels with centres at integers (`synergy.geometry`).

    The mesh and the pose both follow from `params`. `landmarks68` are refined by the network; the mesh follows them
    as far as the morphable model's prior allows, and its own landmarks are `vertices()[morphable_model.landmarks]`.

    Attributes:
        box: (4,) float32 x0, y0, x1, y1 in image pixels: the detector's or the given box, the bounding box of given
            landmarks, or, in a video, that of the smoothed landmarks. The box of a detector is larger than that of the
            landmarks. To predict the face again, give `landmarks68` to the predictor.
        score: the detection score in 0..1; 1 for a face that was given.
        landmarks68: (68, 3) float32, z in pixel scale, larger is nearer, zero mean.
        pose: head pose.
        params: (12 + S + E,) float32 parameters of the morphable model in crop pixels (`synergy.parameters`).
        crop: (2, 3) float64 affine map from image pixels to crop pixels. It rotates where the face was not upright
            (`synergy.upright`).
        crop_size: side of the crop in pixels.
        model_id: which weights predicted it.
        morphable_model: the 3DMM that `params` belong to.
        landmarks68_std: (68,) float32 standard deviation of x, and of y, of each landmark in image pixels. Its errors
            are those against labels of a training pack (docs/training.md). None for weights without uncertainty.
        rotation_covariance: (3, 3) float32 covariance of the error of `pose.matrix` in radians squared: of the rotation
            vector w in the camera's frame (x right, y up, z towards the camera), with true rotation = exp(w) matrix.
            None for weights without uncertainty.
        confidence: probability in 0..1, predicted from the crop, that it shows a face. None for weights without
            uncertainty.
        track_id: number of the person in a video, from 1 (`synergy.tracking.VideoPredictor`). None for a photo.

    Example:
        >>> from synergy import FacePredictor
        >>> [face] = FacePredictor()(np.zeros((240, 240, 3), np.uint8), boxes=[[60, 60, 180, 180]])
        >>> face.landmarks68.shape, face.vertices().shape == face.morphable_model.mean.shape
        ((68, 3), True)
    """

    box: Floats
    score: float
    landmarks68: Floats = field(repr=False)
    pose: Pose
    params: Floats = field(repr=False)
    crop: NDArray[np.float64] = field(repr=False)
    crop_size: int = field(repr=False)
    model_id: str
    morphable_model: MorphableModel = field(repr=False)
    landmarks68_std: Floats | None = field(default=None, repr=False)
    rotation_covariance: Floats | None = field(default=None, repr=False)
    confidence: float | None = None
    track_id: int | None = None

    def vertices(self, neutral: bool = False) -> Floats:
        """Compute the dense mesh; its triangles are `morphable_model.triangles`.

        Args:
            neutral: leave out the expression. Position, rotation and size stay.

        Returns:
            (V, 3) float32 in image pixels. z is in the same scale, larger is nearer, and has zero mean over the 68
            landmark vertices, as in `landmarks68`.

        Raises:
            ValueError: the weights' morphable model has the 68 landmark vertices only.
        """
        return dense_vertices([self], neutral)[0]

    @property
    def direction(self) -> Direction:
        """Azimuth and elevation of the nose in degrees, from the predicted rotation `pose.matrix`.

        In profile, pitch and roll have larger errors than in a frontal face. Azimuth and elevation do not; see
        docs/conventions.md. They do not depend on the rotation of the head about the direction of its nose. The
        azimuth is the yaw where the pitch is 0, and the elevation is the pitch where the yaw is 0.

        Example:
            >>> from synergy.demo import random_face
            >>> [round(angle) for angle in random_face((0, 60, 20), seed=0).direction]
            [60, 0]
        """
        return Direction(*nose_direction(self.pose.matrix).tolist())

    @property
    def blendshapes(self) -> dict[str, float]:
        """Expression as weights in 0..1 of the morphable model's named expression modes.

        The weights drive the mesh: `morphable_model.vertices(shape, list(face.blendshapes.values()))` is close to the
        face in model space. It differs from `vertices()` where a coefficient of the expression is outside 0..1. 0 is
        the neutral face and 1 the full expression. With ARKit's names, Left and Right are the subject's own left and
        right: the subject's left eye has positive x in model space and, in a frontal photo that is not mirrored, lies
        on the image's right.

        Returns:
            Name to weight; empty for a morphable model whose modes have no names. See
            `synergy.blendshapes.blendshape_weights` for how coefficients become weights.
        """
        _, _, expression = split_parameters(self.params, self.morphable_model.n_shape)
        return blendshape_weights(self.morphable_model, expression)

    def to_dict(self) -> dict[str, Any]:
        """Return the face as plain lists and numbers, ready for JSON. What the weights do not predict is None."""
        return {
            "track_id": self.track_id,
            "box": _rounded(self.box, 2),
            "score": round(self.score, 4),
            "confidence": None if self.confidence is None else round(self.confidence, 4),
            "landmarks68": _rounded(self.landmarks68, 3),
            "landmarks68_std": None if self.landmarks68_std is None else _rounded(self.landmarks68_std, 3),
            "pose_deg": {name: round(getattr(self.pose, name), 3) for name in ("pitch", "yaw", "roll")},
            "direction_deg": {name: round(angle, 3) for name, angle in self.direction._asdict().items()},
            "rotation": _rounded(self.pose.matrix, 6),
            "rotation_covariance": None if self.rotation_covariance is None else _rounded(self.rotation_covariance, 8),
            "scale": round(self.pose.scale, 6),
            "blendshapes": {name: round(weight, 4) for name, weight in self.blendshapes.items()},
            "params": [float(f"{value:.6g}") for value in self.params],
            "crop_affine": _rounded(self.crop, 6),
            "crop_size": self.crop_size,
            "model_id": self.model_id,
            "morphable_model": self.morphable_model.name,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], morphable_model: MorphableModel | None = None) -> Face:
        """Return the face that `to_dict` described, with its rounded numbers.

        Args:
            values: what `to_dict` returned, or a face of the JSON files of `Faces.save` and `synergy predict`.
            morphable_model: the 3DMM of its parameters; the bundled open face by default.

        Raises:
            UserError: a value is missing or not valid, or the face belongs to another morphable model.

        Example:
            >>> from synergy.demo import random_face
            >>> face = random_face((0, 30, 0), seed=0)
            >>> Face.from_dict(face.to_dict()).pose.yaw == round(face.pose.yaw, 3)
            True
        """
        model = open_face() if morphable_model is None else morphable_model
        try:
            if values["morphable_model"] != model.name:
                named = f"the face belongs to the morphable model '{values['morphable_model']}', not to '{model.name}'"
                raise UserError(f"{named}: give it as morphable_model")
            std, covariance = values.get("landmarks68_std"), values.get("rotation_covariance")
            pitch, yaw, roll = (float(values["pose_deg"][name]) for name in ("pitch", "yaw", "roll"))
            return cls(
                box=_array(values["box"], 4),
                score=float(values["score"]),
                landmarks68=_array(values["landmarks68"], 68, 3),
                pose=Pose(pitch, yaw, roll, _array(values["rotation"], 3, 3), float(values["scale"])),
                params=_array(values["params"], count_parameters(model)),
                crop=np.array(values["crop_affine"], np.float64).reshape(2, 3),
                crop_size=int(values["crop_size"]),
                model_id=str(values["model_id"]),
                morphable_model=model,
                landmarks68_std=None if std is None else _array(std, 68),
                rotation_covariance=None if covariance is None else _array(covariance, 3, 3),
                confidence=values.get("confidence"),
                track_id=values.get("track_id"),
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise UserError(f"not a face as Face.to_dict gives it ({describe(error)})") from None


def _array(values: Any, *shape: int) -> Floats:
    """Return numbers as float32 of a shape, or raise `ValueError`."""
    return np.array(values, np.float32).reshape(shape)


def _rounded(array: NDArray[np.floating], digits: int) -> Any:
    return np.round(np.asarray(array, np.float64), digits).tolist()


def nose_direction(rotation: NDArray[np.floating]) -> NDArray[np.float64]:
    """Compute azimuth and elevation of the nose; see `Direction`.

    Args:
        rotation: (..., 3, 3) from model space to the camera's frame (x right, y up, z towards the camera).

    Returns:
        (..., 2) azimuth and elevation in degrees.
    """
    # The nose points along the z axis of the model.
    x, y, z = np.moveaxis(np.asarray(rotation, np.float64)[..., 2], -1, 0)
    return np.degrees(np.stack([np.arctan2(-x, z), np.arctan2(y, np.hypot(x, z))], -1))


def pose_from_params(params: Floats, crop: NDArray[np.floating]) -> Pose:
    """Compute the head pose from parameters (12 + S + E,); see `poses_from_params`."""
    return poses_from_params(params[None], crop[None])[0]


def poses_from_params(params: Floats, crops: NDArray[np.floating]) -> list[Pose]:
    """Compute the head poses of N faces from their parameters.

    Args:
        params: (N, 12 + S + E) in crop pixels.
        crops: (N, 2, 3) affine maps from image to crop pixels. They may rotate.

    Returns:
        The poses in the image. In upright crops their angles are those of `synergy.head_pose.likely_angles`.
    """
    scale, rotation, _ = decompose_pose(torch.from_numpy(split_pose(params)[0]).double())
    angles = torch.from_numpy(likely_angles(rotation.numpy()))
    # A crop that is rotated by exactly 180 degrees has zeros there, too.
    rows = np.flatnonzero((crops[:, 0, 1] != 0) | (crops[:, 0, 0] < 0))
    to_image = torch.from_numpy(rotation_to_image(crops[rows]))
    angles[rows] = matrix_to_euler(to_image @ euler_to_matrix(angles[rows]))
    rotation[rows] = to_image @ rotation[rows]
    matrices, scales = rotation.float().numpy(), (scale.numpy() / affine_scale(crops)).tolist()
    triples = zip(angles.rad2deg().tolist(), matrices, scales, strict=True)
    return [Pose(pitch, yaw, roll, matrix, scale) for (pitch, yaw, roll), matrix, scale in triples]


def rotation_to_image(crop: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the rotations (..., 3, 3) from the camera's frame of crops to that of their images.

    Args:
        crop: (..., 2, 3) affine maps from image to crop pixels, which do not mirror.
    """
    linear = invert_affine(crop)[..., :2] * affine_scale(crop)[..., None, None]
    rotation = np.zeros((*crop.shape[:-2], 3, 3))
    rotation[..., :2, :2] = flip_y(flip_y(linear.swapaxes(-1, -2)).swapaxes(-1, -2))
    rotation[..., 2, 2] = 1
    return rotation


def resize_face(face: Face, factor: float, corner: tuple[float, float] = (0, 0)) -> Face:
    """Return a face as it is in its image, or in the part of the image from a corner on, resized by a factor.

    Pixel centres are at integers. A point p of the image is therefore at `(p - corner + 0.5) * factor - 0.5`.

    Args:
        face: the face.
        factor: new size of the image, or of the part, divided by the old one.
        corner: x and y of the first pixel of the part.
    """
    offset = 0.5 * factor - 0.5 - factor * np.array(corner)
    affine: NDArray[np.floating] = np.concatenate([factor * np.eye(2), offset[:, None]], 1)
    landmarks, corners, std = face.landmarks68, face.box.reshape(2, 2), face.landmarks68_std
    crop = np.asarray(compose_affine(face.crop, invert_affine(affine)), np.float64)
    return replace(
        face,
        box=transform_points(affine, corners).ravel().astype(np.float32),
        landmarks68=transform_points(affine, landmarks).astype(np.float32),
        landmarks68_std=None if std is None else std * np.float32(factor),
        pose=replace(face.pose, scale=face.pose.scale * factor),
        crop=crop,
    )


def dense_vertices(faces: Sequence[Face], neutral: bool = False) -> Floats:
    """Compute the dense meshes of several faces by one matrix product.

    Args:
        faces: at least one; of one morphable model and crop size.
        neutral: leave out the expressions.

    Returns:
        (N, V, 3), see `Face.vertices`.

    Raises:
        ValueError: the faces have different morphable models, or a model with the 68 landmark vertices only.
    """
    model, size = faces[0].morphable_model, faces[0].crop_size
    if any(face.morphable_model is not model or face.crop_size != size for face in faces):
        raise ValueError("the faces have different morphable models or crop sizes; compute their meshes one by one")
    if not model.is_dense:
        raise ValueError(f"morphable model '{model.name}' has landmark vertices only, there is no mesh")
    params = np.stack([face.params for face in faces])
    if neutral:
        pose, shape, expression = split_parameters(params, model.n_shape)
        params = join_parameters(pose, shape, 0 * expression)
    points = LinearFaceModel(model).project_mesh(torch.from_numpy(params), size).numpy()
    to_image = invert_affine(np.stack([face.crop for face in faces]))
    return transform_points(to_image, points).astype(np.float32)
