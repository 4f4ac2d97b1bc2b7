"""The pictures of the demo: a public-domain photo, and random people of the open face in any pose and expression."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files

import numpy as np
import torch
from numpy.typing import NDArray

from bfm_assets import open_face
from synergy.appearance import random_colours, region_colours
from synergy.draw import draw_mesh
from synergy.extras import needs_extra
from synergy.face import Face, pose_from_params
from synergy.geometry import compose_pose, euler_to_matrix
from synergy.images import read_image
from synergy.parameters import join_parameters

Image = NDArray[np.uint8]
Floats = NDArray[np.float32]

_SIZE = 256
# Height of the 68 landmarks in a rendered picture, as a fraction of its height. The whole head is then visible.
_LANDMARK_HEIGHT = 0.42


def demo_photo() -> Image:
    """Return the public-domain photo that scikit-image carries: Eileen Collins, NASA.

    Returns:
        (512, 512, 3) uint8 RGB.

    Raises:
        UserError: scikit-image is not installed.
    """
    with needs_extra("demo", "the demo"):
        return read_image(str(files("skimage") / "data" / "astronaut.png"))


def random_face(angles_deg: tuple[float, float, float], seed: int) -> Face:
    """Make a random person of the open face with a random expression, in the middle of a 256 px image.

    Args:
        angles_deg: pitch, yaw and roll in degrees.
        seed: of shape and expression.
    """
    model = open_face()
    rng = np.random.default_rng(seed)
    shape = (rng.standard_normal(model.n_shape) * model.shape_std).astype(np.float32)
    expression = np.zeros(model.n_expression, np.float32)
    expression[rng.permutation(model.n_expression)[:3]] = rng.uniform(0.2, 0.6, 3)
    scale = _SIZE * _LANDMARK_HEIGHT / float(np.ptp(model.vertices(shape, expression)[model.landmarks][:, 1]))
    return _posed_face(shape, expression, angles_deg, (_SIZE / 2, _SIZE / 2), scale)


def animated_face(
    seed: int,
    expression: Mapping[str, float],
    angles_deg: tuple[float, float, float],
    centre: tuple[float, float],
    height: float,
) -> Face:
    """Make the person of a seed of `random_face` with a given expression, pose and place.

    Args:
        seed: of the shape.
        expression: blendshape name to weight in 0..1.
        angles_deg: pitch, yaw and roll in degrees.
        centre: x and y of the centre of the landmarks in image pixels.
        height: of the landmarks of the frontal neutral face in pixels.

    Example:
        >>> face = animated_face(1, {"jawOpen": 0.5}, (0, 20, 0), centre=(300, 200), height=120)
        >>> face.landmarks68[:, :2].mean(0).round().tolist()
        [300.0, 200.0]
        >>> round(face.pose.yaw), round(face.blendshapes["jawOpen"], 2)
        (20, 0.5)
    """
    model = open_face()
    shape = (np.random.default_rng(seed).standard_normal(model.n_shape) * model.shape_std).astype(np.float32)
    weights = np.array([expression.get(name, 0.0) for name in model.expression_names], np.float32)
    neutral = model.vertices(shape, np.zeros_like(weights))[model.landmarks]
    return _posed_face(shape, weights, angles_deg, centre, height / float(np.ptp(neutral[:, 1])))


def _posed_face(
    shape: Floats, expression: Floats, angles_deg: tuple[float, float, float], centre: tuple[float, float], scale: float
) -> Face:
    """Place a person of the open face in an image.

    Args:
        shape: (S,) shape coefficients.
        expression: (E,) expression coefficients.
        angles_deg: pitch, yaw and roll in degrees.
        centre: x and y of the centre of the landmarks in image pixels.
        scale: pixels per unit of the model.
    """
    model = open_face()
    points = model.vertices(shape, expression)[model.landmarks]
    rotation = euler_to_matrix(torch.tensor(np.radians(angles_deg), dtype=torch.float32))
    offset = rotation @ torch.from_numpy(points.mean(0)) * scale
    # The crop is the picture of `_SIZE` pixels; y points up in the pose.
    place = torch.tensor([centre[0], _SIZE - centre[1], 0.0], dtype=torch.float32)
    params = join_parameters(compose_pose(torch.tensor(scale), rotation, place - offset).numpy(), shape, expression)
    params = params.astype(np.float32)
    identity = np.array([[1.0, 0, 0], [0, 1, 0]])

    def face(landmarks68: Floats) -> Face:
        return Face(
            box=np.array([0, 0, _SIZE - 1, _SIZE - 1], np.float32),
            score=1.0,
            landmarks68=landmarks68,
            pose=pose_from_params(params, identity),
            params=params,
            crop=identity,
            crop_size=_SIZE,
            model_id="rendered",
            morphable_model=model,
        )

    return face(face(np.zeros((68, 3), np.float32)).vertices()[model.landmarks])


def paint_face(image: Image, face: Face, seed: int) -> Image:
    """Draw a face of the open model in the colours of a random person.

    Args:
        image: (H, W, 3) uint8 RGB.
        face: the face.
        seed: of the colours of skin, hair and eyes.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    model = face.morphable_model
    colours = region_colours(model, **random_colours(np.random.default_rng(seed)))
    return draw_mesh(image, face.vertices(), model.triangles, colours)


def rendered_picture(angles_deg: tuple[float, float, float], seed: int) -> Image:
    """Draw `random_face` on a vertical gradient.

    Args:
        angles_deg: pitch, yaw and roll in degrees.
        seed: of shape, expression and colours.

    Returns:
        (256, 256, 3) uint8 RGB.
    """
    return paint_face(backdrop(_SIZE, _SIZE, 70, 25), random_face(angles_deg, seed), seed)


def backdrop(height: int, width: int, top: float, bottom: float) -> Image:
    """Return a bluish vertical gradient (height, width, 3) uint8 RGB; `top` and `bottom` are its values of green."""
    ramp = np.linspace(top, bottom, height)[:, None, None] * np.array([0.9, 1.0, 1.15])
    return np.broadcast_to(ramp, (height, width, 3)).astype(np.uint8)
