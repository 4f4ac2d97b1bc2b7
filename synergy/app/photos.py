"""The analysis of one photo, and the files that can be made from it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from synergy.app.files import encode_image, written, zip_files
from synergy.app.layers import layer_names, transparent_layer
from synergy.app.limits import Limits, RequestError
from synergy.app.words import describe_pose
from synergy.draw import draw_picture
from synergy.export import FaceMesh, write_csv, write_json, write_pts
from synergy.face import Face, resize_face
from synergy.faces import Faces
from synergy.images import count_frames, read_image
from synergy.predictor import FacePredictor
from synergy.result_formats import MESH_FORMATS, PICTURE_FORMATS, ResultFormat

Image = NDArray[np.uint8]

# Longer side of the picture and of the layers that the page shows, in pixels. Layers of smaller photos are drawn larger
# than the photo, by at most this factor, so that their lines are sharp.
_VIEW_SIDE = 1600
_MAX_ENLARGEMENT = 4


@dataclass(frozen=True)
class Photo:
    """An analysed photo.

    Attributes:
        name: name of its file.
        data: content of its file.
        width: of the photo in pixels.
        height: of the photo in pixels.
        faces: the faces in it.
        view: the photo, reduced to the size that the page shows.
        n_pictures: number of pictures in the file, of which the first one is analysed.
    """

    name: str
    data: bytes = field(repr=False)
    width: int
    height: int
    faces: Faces = field(repr=False)
    view: Image = field(repr=False)
    n_pictures: int = 1

    @property
    def n_bytes(self) -> int:
        """Return the memory that the result takes, in bytes."""
        return len(self.data) + self.view.nbytes

    @property
    def is_dense(self) -> bool:
        """Return whether the faces have a mesh."""
        return all(face.morphable_model.is_dense for face in self.faces)

    def to_dict(self) -> dict[str, Any]:
        """Describe the photo for the page."""
        return {
            "kind": "photo",
            "name": self.name,
            "width": self.width,
            "height": self.height,
            "faces": [describe_face(face) for face in self.faces],
            "note": self._note(),
            "layers": {name: PICTURE_FORMATS[name].description for name in self.layers()},
            "has_mesh": bool(self.model_numbers()),
            "files": list(self.files()),
        }

    def _note(self) -> str:
        """Return what the user should know about the result; empty if there is nothing."""
        parts = []
        if self.n_pictures > 1:
            parts.append(f"The file has {self.n_pictures} pictures. The first one was analysed.")
        if self.faces.n_removed:
            parts.append(f"{self.faces.n_removed} place(s) that resemble a face were left out.")
        return " ".join(parts)

    def view_file(self) -> bytes:
        """Return the picture that the page shows, as JPEG."""
        return encode_image(self.view)

    def layer_file(self, layer: str) -> bytes:
        """Return a drawing of all faces as transparent PNG, with the proportions of the photo.

        Args:
            layer: one of `layers`.
        """
        factor = min(_MAX_ENLARGEMENT, _VIEW_SIDE / max(self.height, self.width))
        height, width = max(1, round(self.height * factor)), max(1, round(self.width * factor))
        faces = [resize_face(face, factor) for face in self.faces]
        return encode_image(transparent_layer(faces, layer, height, width), "png")

    def model_numbers(self) -> list[int]:
        """Return the numbers that `model_file` takes."""
        return list(range(len(self.faces))) if self.is_dense else []

    def model_file(self, number: int) -> bytes:
        """Return a face as binary glTF with expressions as morph targets.

        Args:
            number: index of the face, from 0.
        """
        return written("face.glb", FaceMesh(self.faces[number], self._image()).write)

    def files(self) -> dict[str, Callable[[], bytes]]:
        """Return the files that can be downloaded: name to a function that makes the content."""
        by_name = {self.name: self.faces}
        files: dict[str, Callable[[], bytes]] = {
            "faces.json": lambda: written("faces.json", lambda path: write_json(path, by_name)),
            "faces.csv": lambda: written("faces.csv", lambda path: write_csv(path, by_name)),
        }
        # What several files need is made once, when the first of them is made.
        image = cache(self._image)
        mesh = cache(lambda i: FaceMesh(self.faces[i], image()))

        def picture(style: ResultFormat) -> bytes:
            kind = "png" if style.is_map else "jpeg"
            return encode_image(draw_picture(image(), self.faces, style.name), kind)

        for style in PICTURE_FORMATS.values():
            if self.faces and (self.is_dense or not style.needs_mesh):
                files[f"{style.name}{style.suffix}"] = partial(picture, style)
        for i, face in enumerate(self.faces):
            stem = f"face_{i + 1}"
            files[f"{stem}.pts"] = partial(written, f"{stem}.pts", partial(_write_points, face))
            for style in MESH_FORMATS.values() if self.is_dense else ():
                # OBJ is three files.
                name = f"{stem}_obj.zip" if style.name == "obj" else f"{stem}{style.suffix}"
                files[name] = partial(_mesh_file, mesh, i, f"{stem}{style.suffix}")
        files["everything.zip"] = partial(zip_files, dict(files))
        return files

    def layers(self) -> list[str]:
        """Return the names of the layers that can be drawn, the lowest first."""
        return layer_names(self.is_dense) if self.faces else []

    def _image(self) -> Image:
        """Decode the photo again. Its pixels are not kept, because they take much more memory than its file."""
        return read_image(self.data, max_pixels=self.width * self.height)


def analyse_photo(data: bytes, name: str, predictor: FacePredictor, limits: Limits) -> Photo:
    """Find and predict the faces of a photo.

    Args:
        data: content of an image file.
        name: name of the file.
        predictor: predicts the faces.
        limits: `megapixels` counts.

    Raises:
        RequestError: the file is empty.
        UserError: the file is no image that can be read, or has too many pixels.
    """
    if not data:
        raise RequestError(422, f"{name} is empty.")
    image = read_image(data, name, round(limits.megapixels * 1e6))
    faces = predictor(image)
    height, width = image.shape[:2]
    factor = _VIEW_SIDE / max(height, width)
    view = image
    if factor < 1:
        size = max(1, round(width * factor)), max(1, round(height * factor))
        view = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
    return Photo(name, data, width, height, faces, view, count_frames(data))


def describe_face(face: Face) -> dict[str, Any]:
    """Return `Face.to_dict` with the pose in plain words."""
    return {**face.to_dict(), "description": describe_pose(face)}


def _write_points(face: Face, path: Path) -> None:
    write_pts(path, face.landmarks68)


def _mesh_file(mesh: Callable[[int], FaceMesh], index: int, name: str) -> bytes:
    return written(name, mesh(index).write)
