"""Faces as binary glTF 2.0: one mesh with a texture, expressions as named morph targets, and an optional animation.

trimesh does not write morph targets, so this file writes the format itself:
https://registry.khronos.org/glTF/specs/2.0/glTF-2.0.html
"""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.spatial.transform import Rotation

from bfm_assets import MorphableModel
from synergy.face import Face
from synergy.geometry import flip_y
from synergy.parameters import split_parameters
from synergy.raster import vertex_normals
from synergy.uv import texture_coordinates

Floats = NDArray[np.float32]

_FLOAT, _UNSIGNED_INT = 5126, 5125
_ARRAY_BUFFER, _INDEX_BUFFER = 34962, 34963
_LINEAR, _CLAMP = 9729, 33071
_TYPES = {1: "SCALAR", 2: "VEC2", 3: "VEC3", 4: "VEC4"}


class FaceKey(NamedTuple):
    """Where a face is at one time, and its expression.

    Attributes:
        seconds: time.
        translation: (3,) position of the model's origin.
        rotation: (4,) quaternion x, y, z, w.
        scale: (3,) pixels per unit of the morphable model.
        weights: (E,) of the morph targets.
    """

    seconds: float
    translation: Floats
    rotation: Floats
    scale: Floats
    weights: Floats


def face_key(face: Face, origin: Sequence[float], seconds: float = 0.0, neutral: bool = False) -> FaceKey:
    """Describe a predicted face as a key.

    Args:
        face: a face with a dense mesh.
        origin: (2,) image point that becomes the origin. x points right, y up and z towards the camera.
        seconds: time.
        neutral: set the weights to zero. Otherwise they are `Face.blendshapes`, or the coefficients of a morphable
            model whose expressions have no names.
    """
    # The mesh is a scaled and rotated copy of the model, or close to one for networks with a free 3x3 pose matrix. The
    # mean of the landmarks gives the translation.
    placed = flip_y(face.vertices()[face.morphable_model.landmarks].mean(0) - [*origin, 0])
    model, rotation, scale = face.morphable_model, face.pose.matrix, face.pose.scale
    _, shape, expression = split_parameters(face.params, model.n_shape)
    landmarks = model.mean[model.landmarks] + model.basis[model.landmarks] @ np.concatenate([shape, expression])
    weights = list(face.blendshapes.values()) or expression
    values = (
        placed - scale * rotation @ landmarks.mean(0),
        Rotation.from_matrix(rotation).as_quat(),
        [scale] * 3,
        np.zeros(model.n_expression) if neutral else weights,
    )
    return FaceKey(seconds, *(np.asarray(value, np.float32) for value in values))


def encode_face(
    model: MorphableModel, shape: NDArray[np.floating], texture: NDArray[np.uint8], keys: Sequence[FaceKey]
) -> bytes:
    """Encode a face as a .glb file.

    The mesh is the person's neutral face in the units of the morphable model. Each expression mode of the model is a
    morph target under its own name (ARKit's names for the open face; `expression_0` and so on for models without
    names). The node of the mesh has the position, rotation, scale and weights of the first key. More keys become an
    animation, whose time begins at zero.

    Args:
        model: a model with a dense mesh.
        shape: (S,) shape coefficients of the person.
        texture: (size, size, 3) uint8 RGB (`synergy.texture.face_texture`).
        keys: at least one.

    Returns:
        The bytes of the file.
    """
    neutral = (model.mean + model.shape_basis @ shape).astype(np.float32)
    # The function takes image space, whose y points down.
    normals = flip_y(vertex_normals(flip_y(neutral), model.triangles)).astype(np.float32)
    # Coordinates of textures have v down in glTF.
    uv = flip_y(texture_coordinates(model), 1.0).astype(np.float32)
    buffer = _Buffer()
    attributes = {
        "POSITION": buffer.add(neutral, _ARRAY_BUFFER, bounds=True),
        "NORMAL": buffer.add(normals, _ARRAY_BUFFER),
        "TEXCOORD_0": buffer.add(uv, _ARRAY_BUFFER),
    }
    targets = [
        {"POSITION": buffer.add(np.ascontiguousarray(mode, np.float32), _ARRAY_BUFFER, bounds=True)}
        for mode in np.moveaxis(model.expression_basis, 2, 0)
    ]
    indices = buffer.add(model.triangles.astype(np.uint32).reshape(-1, 1), _INDEX_BUFFER)
    image = buffer.add_bytes(_png(texture))
    first = keys[0]
    node = {name: getattr(first, name).tolist() for name in ("translation", "rotation", "scale")}
    primitive: dict[str, Any] = {"attributes": attributes, "indices": indices, "material": 0}
    mesh: dict[str, Any] = {"name": "face", "primitives": [primitive]}
    if targets:
        primitive["targets"] = targets
        mesh["weights"] = first.weights.tolist()
        mesh["extras"] = {
            "targetNames": list(model.expression_names) or [f"expression_{i}" for i in range(model.n_expression)]
        }
    colour = {"baseColorTexture": {"index": 0}, "metallicFactor": 0.0, "roughnessFactor": 1.0}
    document = {
        "asset": {"version": "2.0", "generator": "synergy"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0, "name": "face", **node}],
        "meshes": [mesh],
        "materials": [{"name": "face", "doubleSided": True, "pbrMetallicRoughness": colour}],
        "textures": [{"source": 0, "sampler": 0}],
        "images": [{"name": "face", "mimeType": "image/png", "bufferView": image}],
        # No smaller copies of the texture (mipmaps): the neck is narrow in it, and would mix with the texels around.
        "samplers": [{"magFilter": _LINEAR, "minFilter": _LINEAR, "wrapS": _CLAMP, "wrapT": _CLAMP}],
    }
    if len(keys) > 1:
        document["animations"] = [_animation(keys, buffer, with_weights=bool(targets))]
    document |= {"accessors": buffer.accessors, "bufferViews": buffer.views}
    document["buffers"] = [{"byteLength": len(buffer.data)}]
    return _glb(document, bytes(buffer.data))


def _animation(keys: Sequence[FaceKey], buffer: _Buffer, with_weights: bool) -> dict[str, Any]:
    """Describe an animation of the node, and append its numbers to the buffer."""
    columns = {name: np.array([getattr(key, name) for key in keys], np.float32) for name in FaceKey._fields}
    seconds = columns.pop("seconds")
    weights = columns.pop("weights").reshape(-1, 1)
    tracks = columns | ({"weights": weights} if with_weights else {})
    times = buffer.add((seconds - seconds[0]).reshape(-1, 1), bounds=True)
    samplers = [{"input": times, "output": buffer.add(values), "interpolation": "LINEAR"} for values in tracks.values()]
    channels = [{"sampler": i, "target": {"node": 0, "path": name}} for i, name in enumerate(tracks)]
    return {"name": "video", "samplers": samplers, "channels": channels}


class _Buffer:
    """The binary part of a glTF file, with the description of its arrays."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.views: list[dict[str, Any]] = []
        self.accessors: list[dict[str, Any]] = []

    def add(self, array: NDArray[Any], target: int | None = None, bounds: bool = False) -> int:
        """Append a float32 or uint32 array (N, 1, 2, 3 or 4) and return the index of its accessor."""
        kind = {"float32": _FLOAT, "uint32": _UNSIGNED_INT}[array.dtype.name]
        accessor = {
            "bufferView": self.add_bytes(np.ascontiguousarray(array).tobytes(), target),
            "componentType": kind,
            "count": len(array),
            "type": _TYPES[array.shape[1]],
        }
        if bounds:
            accessor |= {"min": array.min(0).tolist(), "max": array.max(0).tolist()}
        self.accessors.append(accessor)
        return len(self.accessors) - 1

    def add_bytes(self, content: bytes, target: int | None = None) -> int:
        """Append bytes and return the index of their view."""
        view = {"buffer": 0, "byteOffset": len(self.data), "byteLength": len(content)}
        self.views.append(view if target is None else view | {"target": target})
        self.data += content
        self.data += bytes(-len(self.data) % 4)
        return len(self.views) - 1


def _png(texture: NDArray[np.uint8]) -> bytes:
    """Encode a picture (H, W, 3) as PNG."""
    file = io.BytesIO()
    Image.fromarray(texture).save(file, "PNG")
    return file.getvalue()


def _glb(document: dict[str, Any], data: bytes) -> bytes:
    """Join the two parts of a binary glTF file."""
    text = json.dumps(document, allow_nan=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    chunks = struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", len(data), b"BIN\0") + data
    return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks
