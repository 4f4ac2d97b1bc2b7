"""The face of one person in a video as an animated mesh: binary glTF 2.0 with expressions as named morph targets.

trimesh does not write morph targets, so this file writes the format itself:
https://registry.khronos.org/glTF/specs/2.0/glTF-2.0.html
"""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from synergy.face import Face
from synergy.geometry import flip_y
from synergy.parameters import split_parameters
from synergy.raster import vertex_normals

Floats = NDArray[np.float32]

_FLOAT, _UNSIGNED_INT = 5126, 5125
_ARRAY_BUFFER, _INDEX_BUFFER = 34962, 34963
_TYPES = {1: "SCALAR", 3: "VEC3", 4: "VEC4"}


class _Key(NamedTuple):
    """The values of one frame: seconds, translation (3,), quaternion (4,), scale (3,) and weights (E,)."""

    seconds: float
    translation: Floats
    rotation: Floats
    scale: Floats
    weights: Floats


class FaceAnimation:
    """Collect the faces of one person and write them as one animated mesh.

    The mesh is the person's neutral face, with the mean identity of the track and the colours of the most frontal
    frame. Each expression mode of the morphable model is a morph target under its own name (ARKit's names for the open
    face; `expression_0` and so on for models without names). Position, rotation, size and the weights of the morph
    targets have one key per frame. The unit is the image pixel, the origin is the centre of the image, x points right,
    y up, z towards the camera.

    Example:
        animations: dict[int, FaceAnimation] = {}
        for frame, seconds in video:
            for face in tracker(frame, seconds):
                animations.setdefault(face.track_id, FaceAnimation()).add(seconds, face, frame)
        for track_id, animation in animations.items():
            animation.write(f"person_{track_id}.glb")
    """

    def __init__(self) -> None:
        self._keys: list[_Key] = []
        self._face: Face | None = None
        self._colours: NDArray[np.uint8] = np.zeros((0, 3), np.uint8)
        self._frontal = -1.0

    def add(self, seconds: float, face: Face, image: NDArray[np.uint8]) -> None:
        """Add the face of the next frame.

        Args:
            seconds: time of the frame.
            face: a face with a dense mesh.
            image: (H, W, 3) uint8 RGB, the frame.
        """
        self._face = face
        height, width = image.shape[:2]
        vertices = face.vertices()
        rotation, scale = face.pose.matrix, face.pose.scale
        # One vertex gives the translation, because the mesh is a scaled and rotated copy of the model.
        placed = flip_y(vertices[0] - [(width - 1) / 2, (height - 1) / 2, 0])
        shape, expression = _coefficients(face)
        model = face.morphable_model
        first = model.mean[0] + model.basis[0] @ np.concatenate([shape, expression])
        translation = placed - scale * rotation @ first
        weights = list(face.blendshapes.values()) or expression
        quaternion = Rotation.from_matrix(rotation).as_quat()
        if self._keys and quaternion @ self._keys[-1].rotation < 0:
            quaternion = -quaternion
        key = _Key(seconds, *(np.asarray(v, np.float32) for v in (translation, quaternion, [scale] * 3, weights)))
        self._keys.append(key)
        frontal = float(rotation[2, 2])
        if frontal > self._frontal:
            self._frontal = frontal
            x, y = np.rint(vertices[:, :2]).astype(int).T
            self._colours = image[y.clip(0, height - 1), x.clip(0, width - 1)]

    def write(self, path: str | Path) -> None:
        """Write the animation as a .glb file.

        Raises:
            ValueError: no face was added.
        """
        if self._face is None:
            raise ValueError("an animation needs at least one face")
        Path(path).write_bytes(self._encode(self._face))

    def _encode(self, face: Face) -> bytes:
        """Return the file's bytes, for the identity of a face."""
        model = face.morphable_model
        shape, _ = _coefficients(face)
        neutral = (model.mean + model.shape_basis @ shape).astype(np.float32)
        # The function takes image space, whose y points down.
        normals = flip_y(vertex_normals(flip_y(neutral), model.triangles)).astype(np.float32)
        names = list(model.expression_names) or [f"expression_{i}" for i in range(model.n_expression)]
        seconds, translation, rotation, scale, weights = (
            np.array(column, np.float32) for column in zip(*self._keys, strict=True)
        )

        buffer = _Buffer()
        attributes = {
            "POSITION": buffer.add(neutral, _ARRAY_BUFFER, bounds=True),
            "NORMAL": buffer.add(normals, _ARRAY_BUFFER),
            "COLOR_0": buffer.add(_linear(self._colours), _ARRAY_BUFFER),
        }
        targets = [
            {"POSITION": buffer.add(np.ascontiguousarray(mode, np.float32), _ARRAY_BUFFER, bounds=True)}
            for mode in np.moveaxis(model.expression_basis, 2, 0)
        ]
        indices = buffer.add(model.triangles.astype(np.uint32).reshape(-1, 1), _INDEX_BUFFER)
        times = buffer.add((seconds - seconds[0]).reshape(-1, 1), bounds=True)
        tracks = {
            "translation": translation,
            "rotation": rotation,
            "scale": scale,
            "weights": weights.reshape(-1, 1),
        }
        samplers = [
            {"input": times, "output": buffer.add(values), "interpolation": "LINEAR"} for values in tracks.values()
        ]
        channels = [{"sampler": i, "target": {"node": 0, "path": name}} for i, name in enumerate(tracks)]
        primitive = {"attributes": attributes, "indices": indices, "targets": targets, "material": 0}
        start = {name: values[0].tolist() for name, values in tracks.items() if name != "weights"}
        document = {
            "asset": {"version": "2.0", "generator": "synergy"},
            "scene": 0,
            "scenes": [{"nodes": [0]}],
            "nodes": [{"mesh": 0, "name": "face", **start}],
            "meshes": [
                {
                    "name": "face",
                    "primitives": [primitive],
                    "weights": weights[0].tolist(),
                    "extras": {"targetNames": names},
                }
            ],
            "materials": [
                {"doubleSided": True, "pbrMetallicRoughness": {"metallicFactor": 0.0, "roughnessFactor": 1.0}}
            ],
            "animations": [{"name": "video", "samplers": samplers, "channels": channels}],
            "accessors": buffer.accessors,
            "bufferViews": buffer.views,
            "buffers": [{"byteLength": len(buffer.data)}],
        }
        return _glb(document, bytes(buffer.data))


class _Buffer:
    """The binary part of a glTF file, with the description of its arrays."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.views: list[dict[str, Any]] = []
        self.accessors: list[dict[str, Any]] = []

    def add(self, array: NDArray[Any], target: int | None = None, bounds: bool = False) -> int:
        """Append a float32 or uint32 array (N, 1, 3 or 4) and return the index of its accessor."""
        kind = {"float32": _FLOAT, "uint32": _UNSIGNED_INT}[array.dtype.name]
        view = {"buffer": 0, "byteOffset": len(self.data), "byteLength": array.nbytes}
        self.views.append(view if target is None else view | {"target": target})
        accessor = {
            "bufferView": len(self.views) - 1,
            "componentType": kind,
            "count": len(array),
            "type": _TYPES[array.shape[1]],
        }
        if bounds:
            accessor |= {"min": array.min(0).tolist(), "max": array.max(0).tolist()}
        self.accessors.append(accessor)
        self.data += np.ascontiguousarray(array).tobytes()
        self.data += bytes(-len(self.data) % 4)
        return len(self.accessors) - 1


def _coefficients(face: Face) -> tuple[Floats, Floats]:
    """Return the shape (S,) and expression (E,) coefficients of a face."""
    _, shape, expression = split_parameters(face.params, face.morphable_model.n_shape)
    return shape, expression


def _linear(colours: NDArray[np.uint8]) -> Floats:
    """Convert sRGB colours in 0..255 to linear light in 0..1, which glTF's vertex colours are in."""
    value = colours / 255
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4).astype(np.float32)


def _glb(document: dict[str, Any], data: bytes) -> bytes:
    """Join the two parts of a binary glTF file."""
    text = json.dumps(document, allow_nan=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    chunks = struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", len(data), b"BIN\0") + data
    return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks
