"""Make the pictures of the site: `python docs/scripts/pictures.py` writes files to docs/pictures.

They show the public-domain photo of the demo and a rendered face. `overview.py` makes the picture of the first page.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from synergy import FacePredictor
from synergy.demo import demo_photo, random_face
from synergy.draw import draw_picture
from synergy.face import Face
from synergy.geometry import compose_pose, euler_to_matrix
from synergy.parameters import join_parameters, split_parameters
from synergy.raster import facing, rasterize
from synergy.result_formats import PICTURE_FORMATS
from synergy.texture import face_texture, texel_positions
from synergy.voxels import DEPTHS, encode, to_voxels, volume_frame

PICTURES = Path(__file__).parents[1] / "pictures"
# Part of the photo: left, top, right, bottom, how much it is enlarged, and the side of the pictures.
_PART, _ENLARGED, _SIDE = (110, 0, 350, 240), 3, 300


def photo_pictures() -> dict[str, Image.Image]:
    """Return the photo in all pictures that `synergy predict` makes, and its face with a texture."""
    part = Image.fromarray(demo_photo()).crop(_PART)
    large = np.asarray(part.resize((part.width * _ENLARGED, part.height * _ENLARGED), Image.Resampling.LANCZOS))
    faces = FacePredictor()(large)
    pictures = {name: Image.fromarray(draw_picture(large, faces, name)) for name in PICTURE_FORMATS}
    small = {name: picture.resize((_SIDE, _SIDE), Image.Resampling.LANCZOS) for name, picture in pictures.items()}
    texture = Image.fromarray(textured_views(faces[0], large))
    return {**{f"format-{name}.jpg": picture for name, picture in small.items()}, "texture.jpg": texture}


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
    for name, picture in photo_pictures().items():
        picture.save(PICTURES / name, quality=88)
    voxel_planes().save(PICTURES / "voxels.png", optimize=True)


if __name__ == "__main__":
    main()
