"""Faces as files: JSON, CSV, Parquet, 300-W `.pts`, and meshes as OBJ, GLB, PLY, STL and npz."""

from __future__ import annotations

import csv
import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import trimesh
from numpy.typing import NDArray
from PIL import Image

from synergy.extras import needs_extra
from synergy.face import Face
from synergy.geometry import flip_y
from synergy.gltf import encode_face, face_key
from synergy.images import ImageSource, as_image
from synergy.parameters import split_parameters
from synergy.result_formats import MESH_FORMATS
from synergy.texture import face_texture, vertex_colours
from synergy.uv import texture_coordinates

if TYPE_CHECKING:
    import pyarrow as pa

# Rows of a Parquet file that are written, and later read, at once.
_ROW_GROUP = 2000
_WHITE, _BLACK = (255, 255, 255, 255), (0, 0, 0, 255)
# A face as `Face.to_dict` gives it; and an image: its name, its faces, and its time in seconds if it is a video frame.
FaceDict = dict[str, Any]
ImageDict = dict[str, Any]


def write_json(path: str | Path, faces_by_image: Mapping[str, Sequence[Face]]) -> None:
    """Write `{"images": [{"name", "faces": [...]}]}` with every field of every face (`Face.to_dict`).

    Args:
        path: file to write.
        faces_by_image: image name to its faces.

    Raises:
        ValueError: a number is not finite.
    """
    write_json_rows(path, _rows(faces_by_image))


def write_csv(path: str | Path, faces_by_image: Mapping[str, Sequence[Face]]) -> None:
    """Write one row per face; see `write_csv_rows` for the columns.

    Args:
        path: file to write.
        faces_by_image: image name to its faces.
    """
    names = {name: None for faces in faces_by_image.values() for face in faces for name in face.blendshapes}
    write_csv_rows(path, _rows(faces_by_image), list(names))


def write_json_rows(path: str | Path, rows: Iterable[ImageDict]) -> None:
    """Write the JSON file of `write_json` from dictionaries, one image per line.

    Args:
        path: file to write.
        rows: `{"name", "faces"}` per image, and `{"name", "seconds", "faces"}` per frame of a video.
    """
    with open(path, "w", encoding="utf-8") as file:
        file.write('{"images": [')
        for i, row in enumerate(rows):
            file.write(",\n" if i else "\n")
            file.write(json.dumps(row, allow_nan=False))
        file.write("\n]}\n")


def write_csv_rows(path: str | Path, rows: Iterable[ImageDict], blendshapes: Sequence[str]) -> None:
    """Write one CSV row per face from dictionaries of images.

    Columns: image, time in seconds, index of the face, id of the person, score, confidence, box, pitch, yaw and roll,
    azimuth and elevation of the nose in degrees, x, y, z of the 68 landmarks, their standard deviations, then one
    column per blendshape. Cells of unknown values are empty. An image name that a spreadsheet would run as a formula
    begins with an apostrophe.

    Args:
        path: file to write.
        rows: as for `write_json_rows`.
        blendshapes: names of the blendshape columns; a face without such a weight leaves its cell empty.
    """
    axes = [f"{axis}{i}" for i in range(1, 69) for axis in "xyz"]
    stds = [f"std{i}" for i in range(1, 69)]
    box = ["box_x0", "box_y0", "box_x1", "box_y1"]
    angles = ["pitch", "yaw", "roll"]
    directions = ["azimuth", "elevation"]
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        first = ["image", "seconds", "face", "track_id", "score", "confidence"]
        writer.writerow([*first, *box, *angles, *directions, *axes, *stds, *blendshapes])
        for row in rows:
            for i, face in enumerate(row["faces"]):
                pose = [face["pose_deg"][angle] for angle in angles]
                # Records of older versions have no direction.
                pose += [face.get("direction_deg", {}).get(angle, "") for angle in directions]
                landmarks = [value for point in face["landmarks68"] for value in point]
                weights = [face["blendshapes"].get(key, "") for key in blendshapes]
                std = face.get("landmarks68_std") or [""] * len(stds)
                scores = [face["score"], face.get("confidence", "")]
                labels = [_cell(row["name"]), row.get("seconds", ""), i, face.get("track_id", "")]
                writer.writerow([*labels, *scores, *face["box"], *pose, *landmarks, *std, *weights])


def write_parquet_rows(path: str | Path, rows: Iterable[ImageDict]) -> None:
    """Write one row of a Parquet file per face, and one row with an empty `face` per image without a face.

    Columns: image, seconds (of a video frame), face (index of the face), and the fields of `Face.to_dict`, with angles
    as columns and the blendshapes as a map from name to weight. Numbers are float32. At most 2,000 rows are in memory.

    Args:
        path: file to write.
        rows: as for `write_json_rows`.

    Raises:
        UserError: pyarrow is not installed.
    """
    with needs_extra("scale", "Parquet"):
        import pyarrow as pa
        import pyarrow.parquet as pq
    schema = _parquet_schema()
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        faces = (face for row in rows for face in _parquet_faces(row))
        while some := list(itertools.islice(faces, _ROW_GROUP)):
            writer.write_table(pa.Table.from_pylist(some, schema))


def _parquet_faces(row: ImageDict) -> Iterator[dict[str, Any]]:
    """Yield the rows of a Parquet file for one image."""
    image = {"image": row["name"], "seconds": row.get("seconds")}
    if not row["faces"]:
        yield image
    for i, face in enumerate(row["faces"]):
        angles = {**face["pose_deg"], **face.get("direction_deg", {})}
        yield {**image, "face": i, **face, **angles, "blendshapes": list(face["blendshapes"].items())}


def _parquet_schema() -> pa.Schema:
    """Return the columns of `write_parquet_rows`."""
    import pyarrow as pa

    number = pa.float32()
    numbers = pa.list_(number)
    kinds = {
        "image": pa.string(),
        "seconds": pa.float64(),
        "face": pa.int32(),
        "track_id": pa.int32(),
        "score": number,
        "confidence": number,
        "box": numbers,
        **dict.fromkeys(("pitch", "yaw", "roll", "azimuth", "elevation", "scale"), number),
        "rotation": pa.list_(numbers),
        "rotation_covariance": pa.list_(numbers),
        "landmarks68": pa.list_(numbers),
        "landmarks68_std": numbers,
        "blendshapes": pa.map_(pa.string(), number),
        "params": numbers,
        "crop_affine": pa.list_(numbers),
        "crop_size": pa.int32(),
        "model_id": pa.string(),
        "morphable_model": pa.string(),
    }
    return pa.schema(list(kinds.items()))


def write_skipped_rows(path: str | Path, rows: Iterable[tuple[str, str]]) -> None:
    """Write a CSV file with the columns name and reason from pairs of them."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["name", "reason"])
        writer.writerows((_cell(name), _cell(reason)) for name, reason in rows)


def _rows(faces_by_image: Mapping[str, Sequence[Face]]) -> Iterator[ImageDict]:
    """Yield images as dictionaries."""
    for name, faces in faces_by_image.items():
        yield {"name": name, "faces": [face.to_dict() for face in faces]}


def _cell(text: str) -> str:
    """Return a text that no spreadsheet takes for a formula (OWASP, "CSV injection")."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r", "\n")) else text


def write_pts(path: str | Path, landmarks68: NDArray[np.floating]) -> None:
    """Write landmarks (68, 2 or 3) in 300-W's format, which counts pixels from 1."""
    rows = "\n".join(f"{x + 1:.3f} {y + 1:.3f}" for x, y in landmarks68[:, :2])
    Path(path).write_text(f"version: 1\nn_points: {len(landmarks68)}\n{{\n{rows}\n}}\n")


def write_mesh(path: str | Path, face: Face, image: ImageSource, neutral: bool = False) -> None:
    """Write the dense mesh of a face in the format of the path's suffix; see `FaceMesh`.

    Args:
        path: its suffix, one of `MESH_FORMATS`, chooses the format.
        face: a face of the image.
        image: the photo, in any form that `FacePredictor` takes.
        neutral: leave out the expression.

    Raises:
        ValueError: the face has no dense mesh, or the suffix is none of `MESH_FORMATS`.
    """
    FaceMesh(face, as_image(image), neutral).write(path)


@dataclass(frozen=True, eq=False)
class FaceMesh:
    """The dense mesh of a face with its texture, which is made once for several files.

    All files but `.npz` have image pixels as the unit, x to the right, y up, z towards the camera, and the mean of the
    68 landmarks as the origin. The texture is the photo, with plausible colours where it does not show the face
    (`synergy.texture`).

    - `.obj`: with an `.mtl` file and a `.png` texture of the same name next to it. In their names, control characters
      are written as `%0A` and so on.
    - `.glb`: the neutral face with the texture; expressions are morph targets, whose weights give the expression of the
      photo (`synergy.gltf`). Rotation and size are those of the node.
    - `.ply`: a colour per vertex.
    - `.stl`: the shape alone.
    - `.npz`: arrays for numpy: `vertices` (V, 3) as from `Face.vertices` (image pixels, y down), `triangles` (F, 3),
      `uv` (V, 2), `landmarks` (68,) indices of vertices, and `mm_per_pixel`.

    Args:
        face: a face of the image.
        image: (H, W, 3) uint8 RGB.
        neutral: leave out the expression.
    """

    face: Face
    image: NDArray[np.uint8]
    neutral: bool = False

    @cached_property
    def texture(self) -> NDArray[np.uint8]:
        """The texture (size, size, 3) uint8 RGB."""
        return face_texture(self.face, self.image)

    def write(self, path: str | Path) -> None:
        """Write a file in the format of its suffix.

        Raises:
            ValueError: the face has no dense mesh, or the suffix is none of `MESH_FORMATS`.
        """
        path = Path(path)
        kind = path.suffix.lower().lstrip(".")
        if kind not in MESH_FORMATS:
            raise ValueError(f"{path}: meshes are written as {', '.join(MESH_FORMATS)}")
        if kind == "npz":
            self._write_npz(path)
        elif kind == "glb":
            self._write_glb(path)
        elif kind == "obj":
            self._write_obj(path)
        else:
            colours = vertex_colours(self.face, self.texture) if kind == "ply" else None
            self._trimesh(trimesh.visual.ColorVisuals(vertex_colors=colours)).export(path)

    def _trimesh(self, visual: trimesh.visual.ColorVisuals | trimesh.visual.TextureVisuals) -> trimesh.Trimesh:
        """Return the mesh around the origin, y up."""
        face = self.face
        placed = flip_y(face.vertices(self.neutral) - [*self._origin, 0])
        return trimesh.Trimesh(placed, face.morphable_model.triangles, visual=visual, process=False)

    @property
    def _origin(self) -> NDArray[np.floating]:
        """The mean (2,) of the landmarks in the image."""
        return self.face.landmarks68[:, :2].mean(0)

    def _write_obj(self, path: Path) -> None:
        # The names stand in lines of the files, which a line break would split.
        name = "".join(char if char.isprintable() else f"%{ord(char):02X}" for char in path.stem)
        # Viewers multiply the texture by the diffuse colour, so it is white.
        material = trimesh.visual.material.SimpleMaterial(
            image=Image.fromarray(self.texture), name=name, diffuse=_WHITE, ambient=_WHITE, specular=_BLACK
        )
        visual = trimesh.visual.TextureVisuals(uv=texture_coordinates(self.face.morphable_model), material=material)
        mesh = self._trimesh(visual)
        text, files = trimesh.exchange.obj.export_obj(
            mesh, include_normals=True, return_texture=True, mtl_name=f"{name}.mtl"
        )
        path.write_text(text, encoding="utf-8")
        for file, data in files.items():
            (path.parent / file).write_bytes(data)

    def _write_glb(self, path: Path) -> None:
        model = self.face.morphable_model
        _, shape, _ = split_parameters(self.face.params, model.n_shape)
        key = face_key(self.face, self._origin.tolist(), neutral=self.neutral)
        path.write_bytes(encode_face(model, shape, self.texture, [key]))

    def _write_npz(self, path: Path) -> None:
        model = self.face.morphable_model
        np.savez_compressed(
            path,
            vertices=self.face.vertices(self.neutral),
            triangles=model.triangles,
            uv=texture_coordinates(model),
            landmarks=model.landmarks,
            mm_per_pixel=np.float64(model.mm_per_unit / self.face.pose.scale),
        )
