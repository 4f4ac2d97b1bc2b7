"""The face of one person in a video as an animated mesh (`synergy.gltf`)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from synergy.face import Face
from synergy.gltf import FaceKey, encode_face, face_key
from synergy.parameters import split_parameters
from synergy.texture import face_texture


class FaceAnimation:
    """Collect the faces of one person and write them as one animated mesh.

    The mesh is the neutral face with the shape of the last face that was added (for `VideoPredictor`, the mean shape of
    the track) and the texture of the most frontal frame. Expressions are morph targets under their names. Position,
    rotation, size and the weights of the morph targets have one key per frame. The unit is the image pixel, the origin
    is the centre of the image, x points right, y up, z towards the camera.

    Args:
        neutral: leave out the expressions: all weights are zero.

    Example:
        animations: dict[int, FaceAnimation] = {}
        with VideoReader("clip.mp4") as video:
            for image, seconds, _ in video:
                for face in tracker(image, seconds):
                    animations.setdefault(face.track_id, FaceAnimation()).add(seconds, face, image)
        for track_id, animation in animations.items():
            animation.write(f"person_{track_id}.glb")
    """

    def __init__(self, neutral: bool = False) -> None:
        self._neutral = neutral
        self._keys: list[FaceKey] = []
        self._latest: Face | None = None
        self._frontal: tuple[Face, NDArray[np.uint8]] | None = None

    def add(self, seconds: float, face: Face, image: NDArray[np.uint8]) -> None:
        """Add the face of the next frame.

        Args:
            seconds: time of the frame.
            face: a face with a dense mesh.
            image: (H, W, 3) uint8 RGB, the frame. It must not be changed later.
        """
        height, width = image.shape[:2]
        key = face_key(face, [(width - 1) / 2, (height - 1) / 2], seconds, self._neutral)
        # q and -q are the same rotation. Players interpolate between the numbers.
        if self._keys and key.rotation @ self._keys[-1].rotation < 0:
            key = key._replace(rotation=-key.rotation)
        self._keys.append(key)
        self._latest = face
        if self._frontal is None or face.pose.matrix[2, 2] > self._frontal[0].pose.matrix[2, 2]:
            self._frontal = face, image

    def write(self, path: str | Path) -> None:
        """Write the animation as a .glb file.

        Raises:
            ValueError: no face was added.
        """
        if self._latest is None or self._frontal is None:
            raise ValueError("an animation needs at least one face")
        model = self._latest.morphable_model
        _, shape, _ = split_parameters(self._latest.params, model.n_shape)
        Path(path).write_bytes(encode_face(model, shape, face_texture(*self._frontal), self._keys))
