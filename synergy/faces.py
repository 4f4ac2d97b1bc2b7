"""The faces of one image in one container, with their numbers as stacked arrays."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bfm_assets import MorphableModel
from synergy.errors import UserError, describe
from synergy.face import Face, dense_vertices
from synergy.outputs import require_writable_file

Floats = NDArray[np.float32]


class Poses(NamedTuple):
    """Head poses of N faces; see `synergy.face.Pose` for the signs.

    Attributes:
        pitch, yaw, roll: (N,) float32 degrees.
        matrix: (N, 3, 3) float32 rotations from model space to camera space.
        scale: (N,) float32 image pixels per unit of the morphable model.
    """

    pitch: Floats
    yaw: Floats
    roll: Floats
    matrix: Floats
    scale: Floats


class Directions(NamedTuple):
    """Directions of N noses; see `synergy.face.Direction`.

    Attributes:
        azimuth, elevation: (N,) float32 degrees.
    """

    azimuth: Floats
    elevation: Floats


class Faces(Sequence[Face]):
    """Faces of one image, best first.

    An integer index gives a `Face`; a slice, a boolean mask (N,) or a list of indices gives `Faces`. Faces pickle
    small: the bundled morphable model is referred to, not stored (see `MorphableModel.__reduce_ex__`).

    Args:
        faces: any iterable of `Face`.
        n_removed: number of detections in the image that were removed because of a low confidence.

    Example:
        >>> from synergy.demo import random_face
        >>> faces = Faces([random_face((0, yaw, 0), seed=0) for yaw in (-50, 0, 10)])
        >>> len(faces), faces.landmarks68.shape
        (3, (3, 68, 3))
        >>> frontal = faces[abs(faces.pose.yaw) < 30]
        >>> [round(face.pose.yaw) for face in frontal]
        [0, 10]
    """

    def __init__(self, faces: Iterable[Face] = (), n_removed: int = 0) -> None:
        self._faces = tuple(faces)
        self.n_removed = n_removed

    def __len__(self) -> int:
        return len(self._faces)

    def __iter__(self) -> Iterator[Face]:
        return iter(self._faces)

    @overload
    def __getitem__(self, index: int) -> Face: ...

    @overload
    def __getitem__(self, index: slice | ArrayLike) -> Faces: ...

    def __getitem__(self, index: Any) -> Face | Faces:
        if isinstance(index, (int, np.integer)) and not isinstance(index, bool):
            return self._faces[index]
        if isinstance(index, slice):
            return Faces(self._faces[index])
        rows = np.asarray(index)
        if rows.dtype == bool and rows.shape != (len(self),):
            raise IndexError(f"a mask for {len(self)} faces has shape ({len(self)},), got {rows.shape}")
        if rows.ndim != 1 or not (rows.size == 0 or rows.dtype == bool or np.issubdtype(rows.dtype, np.integer)):
            raise IndexError(f"faces are chosen by integers or by a mask, got {rows.dtype} {rows.shape}")
        return Faces(self._faces[i] for i in np.arange(len(self))[rows if rows.size else rows.astype(int)])

    def __repr__(self) -> str:
        return f"Faces({list(self._faces)!r})"

    @property
    def boxes(self) -> Floats:
        """Boxes (N, 4) float32 x0, y0, x1, y1 in image pixels."""
        return self._stack((4,), lambda face: face.box)

    @property
    def score(self) -> Floats:
        """Detection scores (N,) float32 in 0..1; 1 for faces that were given."""
        return self._stack((), lambda face: face.score)

    @property
    def confidence(self) -> Floats:
        """Probabilities (N,) float32 that the crops show a face; NaN for weights without uncertainty."""
        return self._stack((), lambda face: np.nan if face.confidence is None else face.confidence)

    @property
    def landmarks68(self) -> Floats:
        """Landmarks (N, 68, 3) float32 in image pixels, larger z is nearer."""
        return self._stack((68, 3), lambda face: face.landmarks68)

    @property
    def landmarks68_std(self) -> Floats:
        """Standard deviations (N, 68) float32 of the landmarks in image pixels; NaN for weights without uncertainty."""
        unknown = np.full(68, np.nan)
        return self._stack((68,), lambda face: unknown if face.landmarks68_std is None else face.landmarks68_std)

    @property
    def pose(self) -> Poses:
        """Head poses of all faces."""
        return Poses(
            self._stack((), lambda face: face.pose.pitch),
            self._stack((), lambda face: face.pose.yaw),
            self._stack((), lambda face: face.pose.roll),
            self._stack((3, 3), lambda face: face.pose.matrix),
            self._stack((), lambda face: face.pose.scale),
        )

    @property
    def track_id(self) -> NDArray[np.int64]:
        """Numbers (N,) of the persons in a video, from 1; 0 for faces of a photo."""
        return np.array([face.track_id or 0 for face in self._faces], np.int64)

    def vertices(self, neutral: bool = False) -> Floats:
        """Compute the dense meshes of all faces by one matrix product.

        Args:
            neutral: leave out the expressions.

        Returns:
            (N, V, 3) float32, see `Face.vertices`; (0, 0, 3) without faces.

        Raises:
            ValueError: the faces have different morphable models, or one without a mesh.
        """
        return dense_vertices(self._faces, neutral) if self._faces else np.zeros((0, 0, 3), np.float32)

    @property
    def direction(self) -> Directions:
        """Azimuths and elevations of all noses."""
        return Directions(*self._stack((2,), lambda face: face.direction).T)

    def _stack(self, shape: tuple[int, ...], value: Callable[[Face], ArrayLike]) -> Floats:
        return np.array([value(face) for face in self._faces], np.float32).reshape(len(self), *shape)

    def to_dict(self) -> dict[str, Any]:
        """Return `{"faces": [...]}` in plain lists and numbers, ready for JSON."""
        return {"faces": [face.to_dict() for face in self._faces]}

    @classmethod
    def load(
        cls, path: str | Path, image_name: str | None = None, morphable_model: MorphableModel | None = None
    ) -> Faces:
        """Read the faces of one image from JSON.

        Args:
            path: a file of `save`, or `predictions.json` of `synergy predict`.
            image_name: what the file calls the image. It may be left out if the file has one image.
            morphable_model: the 3DMM of the faces; the bundled open face by default.

        Raises:
            UserError: the file cannot be read, has other contents, or does not have this image.
        """
        try:
            images = {row["name"]: row["faces"] for row in json.loads(Path(path).read_bytes())["images"]}
        except (OSError, ValueError, RecursionError) as error:
            raise UserError(f"{path}: cannot be read as JSON ({describe(error)})") from None
        except (KeyError, TypeError):
            raise UserError(f"{path}: not a file of Faces.save or of synergy predict") from None
        if image_name is None and len(images) != 1:
            raise UserError(f"{path}: has {len(images)} images; give image_name")
        name = next(iter(images)) if image_name is None else image_name
        if name not in images:
            raise UserError(f"{path}: has no image '{name}'")
        try:
            return cls(Face.from_dict(face, morphable_model) for face in images[name])
        except UserError as error:
            raise UserError(f"{path}: {error}") from None

    def save(self, path: str | Path, image_name: str = "") -> None:
        """Write the faces as JSON or CSV, by the suffix of the path.

        Args:
            path: ends in .json or .csv. Both have the layout of `synergy predict`'s files.
            image_name: what the file calls the image.

        Raises:
            UserError: another suffix, or a file that cannot be written.
        """
        from synergy.export import write_csv, write_json

        writers = {".json": write_json, ".csv": write_csv}
        write = writers.get(Path(path).suffix.lower())
        if write is None:
            raise UserError(f"{path}: faces are saved as {' or '.join(writers)}")
        require_writable_file(Path(path))
        write(path, {image_name: self})
