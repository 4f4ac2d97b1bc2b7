"""Make the pictures of the site: `python docs/scripts/pictures.py` writes files to docs/pictures.

They show the public-domain photo of scikit-image (Eileen Collins, NASA) and rendered faces of the open face.
"""

from __future__ import annotations

from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from synergy import FacePredictor
from synergy.appearance import random_colours, region_colours
from synergy.demo import random_face
from synergy.draw import draw_mesh, draw_picture, overlay
from synergy.face import Face
from synergy.geometry import compose_pose, euler_to_matrix
from synergy.parameters import join_parameters, split_parameters
from synergy.raster import facing, rasterize
from synergy.result_formats import PICTURE_FORMATS
from synergy.texture import face_texture, texel_positions
from synergy.voxels import DEPTHS, encode, to_voxels, volume_frame

PICTURES = Path(__file__).parents[1] / "pictures"
# Pitch, yaw and roll in degrees of the rendered faces.
_POSES = ((0, 0, 0), (0, 45, 0), (15, -20, 10), (0, -70, 0))
# Part of the photo: left, top, right, bottom, how much it is enlarged, and the side of the small pictures.
_PART, _ENLARGED, _SMALL = (110, 0, 350, 240), 3, 300


def photo_pictures() -> dict[str, NDArray[np.uint8]]:
    """Return the photo in all pictures that `synergy predict` makes, those of the first page also in full size."""
    photo = Image.open(str(files("skimage") / "data" / "astronaut.png")).crop(_PART)
    part = np.asarray(photo.resize((photo.width * _ENLARGED, photo.height * _ENLARGED), Image.Resampling.LANCZOS))
    faces = FacePredictor()(part)
    pictures = {name: draw_picture(part, faces, name) for name in PICTURE_FORMATS}
    small = {f"format-{name}.jpg": _reduced(picture) for name, picture in pictures.items()}
    return {
        "landmarks.jpg": pictures["overlay"],
        "mesh.jpg": pictures["mesh"],
        **small,
        "texture.jpg": textured_views(faces[0], part),
    }


def _reduced(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.asarray(Image.fromarray(picture).resize((_SMALL, _SMALL), Image.Resampling.LANCZOS))


def textured_views(face: Face, photo: NDArray[np.uint8], side: int = 400) -> NDArray[np.uint8]:
    """Return the texture of a face, and its head with this texture from the front, both sides and behind."""
    model, texture = face.morphable_model, face_texture(face, photo)
    pictures = [np.asarray(Image.fromarray(texture).resize((side, side), Image.Resampling.LANCZOS))]
    _, shape, expression = split_parameters(face.params, model.n_shape)
    for yaw in (0, 50, -50, 180):
        rotation = euler_to_matrix(torch.tensor([0.0, np.radians(yaw), 0.0], dtype=torch.float32))
        scale = torch.tensor(0.95 * side / np.ptp(model.mean[:, 1]))
        middle = rotation @ torch.from_numpy((model.mean.min(0) + model.mean.max(0)) / 2) * scale
        pose = compose_pose(scale, rotation, torch.tensor([side / 2, side / 2, 0.0]) - middle).numpy()
        params = join_parameters(pose, shape, expression).astype(np.float32)
        turned = replace(face, params=params, crop=np.eye(3)[:2], crop_size=side)
        vertices = turned.vertices()
        front = model.triangles[facing(vertices, model.triangles)]
        fragments = rasterize(vertices, front, side, side)
        places = fragments.interpolate_covered(texel_positions(model, len(texture)), front)
        column, row = np.rint(places).astype(int).clip(0, len(texture) - 1).T
        picture = np.full((side, side, 3), (38, 44, 56), np.uint8)
        picture[fragments.mask] = texture[row, column]
        pictures.append(picture)
    return np.concatenate(pictures, 1)


def rendered_faces() -> NDArray[np.uint8]:
    """Return random people of the open face next to each other, with their landmarks below."""
    pictures = []
    for seed, pose in enumerate(_POSES):
        face = random_face(pose, seed)
        model = face.morphable_model
        colours = region_colours(model, **random_colours(np.random.default_rng(seed)))
        empty = np.full((256, 256, 3), (38, 44, 56), np.uint8)
        picture = draw_mesh(empty, face.vertices(), model.triangles, colours)
        pictures.append(np.concatenate([picture, overlay(picture, [face])]))
    return np.concatenate(pictures, 1)


def voxel_planes(enlarge: int = 3) -> Image.Image:
    """Return the volumes of a random face at 30 degrees of yaw.

    The upper row has depth 1, and the maxima of depth 64 seen from the front and from the side. The lower row has the
    planes of depth 4. A voxel of value 0 is transparent, so that the picture can be used on light and dark pages.
    """
    face = random_face((0, 30, 0), seed=0)
    points = torch.from_numpy(face.landmarks68)[None]
    frame = volume_frame(points)
    volumes = {depth: encode(to_voxels(points, frame, depth), depth)[0] for depth in DEPTHS}
    upper = [volumes[1][0], volumes[64].amax(0), volumes[64].amax(2).T]
    rows = [
        torch.cat([torch.nn.functional.pad(_framed(plane), (4, 4, 4, 4)) for plane in planes], 1)
        for planes in (upper, volumes[4])
    ]
    width = max(row.shape[1] for row in rows)
    values = torch.cat([torch.nn.functional.pad(row, (0, width - row.shape[1])) for row in rows]).numpy()
    colour = np.zeros((*values.shape, 4), np.uint8)
    colour[..., :3] = (59, 130, 246)
    colour[..., 3] = np.round(values * 255)
    image = Image.fromarray(colour)
    return image.resize((image.width * enlarge, image.height * enlarge), Image.Resampling.NEAREST)


def _framed(plane: torch.Tensor) -> torch.Tensor:
    """Return a plane (64, 64) with a faint border."""
    framed = plane.clone()
    framed[[0, -1], :] = framed[[0, -1], :].clamp_min(0.35)
    framed[:, [0, -1]] = framed[:, [0, -1]].clamp_min(0.35)
    return framed


def main() -> None:
    """Write all pictures."""
    PICTURES.mkdir(exist_ok=True)
    for name, picture in {**photo_pictures(), "rendered.jpg": rendered_faces()}.items():
        Image.fromarray(picture).save(PICTURES / name, quality=88)
    voxel_planes().save(PICTURES / "voxels.png", optimize=True)


if __name__ == "__main__":
    main()
