"""Faces as files: JSON, CSV, 300-W `.pts`, and meshes as OBJ, PLY or GLB."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import trimesh
from numpy.typing import NDArray
from PIL import Image

from synergy.face import Face
from synergy.geometry import flip_y

MESH_FORMATS = ("obj", "ply", "glb")


def write_json(path: str | Path, faces_by_image: Mapping[str, Sequence[Face]]) -> None:
    """`{"images": [{"name", "faces": [...]}]}` with every field of every face."""
    images = [{"name": name, "faces": [face.to_dict() for face in faces]} for name, faces in faces_by_image.items()]
    Path(path).write_text(json.dumps({"images": images}, indent=1) + "\n")


def write_csv(path: str | Path, faces_by_image: Mapping[str, Sequence[Face]]) -> None:
    """One row per face: image, index, score, box, pitch, yaw, roll in degrees, then x, y, z of the 68 landmarks."""
    axes = [f"{axis}{i}" for i in range(1, 69) for axis in "xyz"]
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(
            ["image", "face", "score", "box_x0", "box_y0", "box_x1", "box_y1", "pitch", "yaw", "roll", *axes]
        )
        for name, faces in faces_by_image.items():
            for i, face in enumerate(faces):
                pose = (face.pose.pitch, face.pose.yaw, face.pose.roll)
                numbers = [face.score, *face.box, *pose, *face.landmarks68.ravel()]
                writer.writerow([name, i, *(f"{value:.4f}" for value in numbers)])


def write_pts(path: str | Path, landmarks68: NDArray[np.floating]) -> None:
    """The 68 points in 300-W's format, which counts pixels from 1."""
    rows = "\n".join(f"{x + 1:.3f} {y + 1:.3f}" for x, y in landmarks68[:, :2])
    Path(path).write_text(f"version: 1\nn_points: {len(landmarks68)}\n{{\n{rows}\n}}\n")


def write_mesh(path: str | Path, face: Face, image: NDArray[np.uint8]) -> None:
    """The face's dense mesh, in the format of the path's suffix, textured or coloured by its photo.

    Units are image pixels, x right, y up, z towards the camera, the mean of the landmarks at the origin. OBJ and GLB
    carry the photo's face as the texture (what the camera did not see takes the colour in front of it); PLY carries a
    colour per vertex.

    Raises:
        ValueError: the face has no dense mesh, or the suffix is none of `MESH_FORMATS`.
    """
    path = Path(path)
    kind = path.suffix.lower().lstrip(".")
    if kind not in MESH_FORMATS:
        raise ValueError(f"{path}: meshes are written as {', '.join(MESH_FORMATS)}")
    vertices = face.vertices()
    centre = [*face.landmarks68[:, :2].mean(0), 0]
    height, width = image.shape[:2]
    low = np.clip(np.floor(vertices[:, :2].min(0)), 0, [width - 1, height - 1]).astype(int)
    high = np.clip(np.ceil(vertices[:, :2].max(0)) + 1, low + 1, [width, height]).astype(int)
    triangles = face.morphable_model.triangles
    visual: trimesh.visual.base.Visuals
    if kind == "ply":
        pixel = np.clip(np.rint(vertices[:, :2]), low, high - 1).astype(int)
        visual = trimesh.visual.ColorVisuals(vertex_colors=image[pixel[:, 1], pixel[:, 0]])
    else:
        texture = Image.fromarray(image[low[1] : high[1], low[0] : high[0]])
        uv = flip_y((vertices[:, :2] - low + 0.5) / (high - low), 1.0)
        material = trimesh.visual.material
        visual = trimesh.visual.TextureVisuals(
            uv=uv,
            material=material.SimpleMaterial(image=texture, name=path.stem)
            if kind == "obj"
            else material.PBRMaterial(baseColorTexture=texture, metallicFactor=0.0, roughnessFactor=1.0),
        )
    mesh = trimesh.Trimesh(flip_y(vertices - centre), triangles, visual=visual, process=False)
    if kind == "obj":
        text, files = trimesh.exchange.obj.export_obj(mesh, return_texture=True, mtl_name=f"{path.stem}.mtl")
        path.write_text(text)
        for name, data in files.items():
            (path.parent / name).write_bytes(data)
    else:
        mesh.export(path)
