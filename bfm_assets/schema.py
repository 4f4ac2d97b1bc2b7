"""`MorphableModel`, the one form in which the project holds 3D morphable models (3DMM), and its `.npz` file.

A 3DMM is a mean mesh with two linear bases (Blanz and Vetter 1999; expressions as in Chu et al. 2014):

    vertices = mean + shape_basis @ shape + expression_basis @ expression

Model space has x right, y up and z towards the camera, in units of `mm_per_unit` millimetres.
Coefficients are raw: `shape / shape_std` is standard normal under the model's prior.
"""

from __future__ import annotations

import hashlib
from dataclasses import MISSING, dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, SupportsIndex

import numpy as np
from numpy.typing import NDArray

from bfm_assets.safe_files import ModelFileError, read_arrays, reading

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]

N_LANDMARKS = 68


@dataclass(frozen=True, eq=False)
class MorphableModel:
    """A linear face model of V vertices, F triangles, S shape and E expression modes.

    Attributes:
        name: short identifier, for example "open-face-2".
        licence: SPDX identifier or one line on the terms of use.
        mean: (V, 3) float32 vertices of the mean face.
        shape_basis: (V, 3, S) float32 identity modes, ordered by variance.
        shape_std: (S,) float32 standard deviation of each shape coefficient.
        expression_basis: (V, 3, E) float32 expression modes.
        expression_std: (E,) float32 standard deviation of each expression coefficient.
        triangles: (F, 3) int32 vertex indices, counter-clockwise seen from outside; F = 0 for a landmark-only basis.
        landmarks: (68,) int32 vertex indices in iBUG order.
        mm_per_unit: millimetres in one model unit.
        expression_names: one name per expression mode, or empty. A mode with a name is a blendshape: its coefficient is
            a weight that is 0 in the neutral face and 1 at full strength, and is meant to stay between the two.
        uv: (V, 2) float32 texture coordinates in [0, 1], v up, or None.
        colours: (V, 3) uint8 RGB, or None.
        region_weights: (V, R) uint8 weight of each region in each vertex; the weights of a vertex sum to 255. Or None.
        region_names: names of the R regions, for example ("skin", "lips").
        face_mask: (V,) bool, vertices of the face without ears, neck, skull and inside of the mouth, or None.
        notice: copyright lines and licence text that must go with the model, or empty.

    Raises:
        ModelFileError: the arrays are inconsistent.

    Example:
        >>> from bfm_assets import open_face
        >>> model = open_face()
        >>> mesh = model.vertices(shape=model.shape_std[:1], expression=np.zeros(0))  # one standard deviation
        >>> mesh.shape == (model.n_vertices, 3)
        True
    """

    name: str
    licence: str
    mean: Floats
    shape_basis: Floats
    shape_std: Floats
    expression_basis: Floats
    expression_std: Floats
    triangles: Ints
    landmarks: Ints
    mm_per_unit: float = 1.0
    expression_names: tuple[str, ...] = ()
    uv: Floats | None = None
    colours: NDArray[np.uint8] | None = None
    region_weights: NDArray[np.uint8] | None = None
    region_names: tuple[str, ...] = ()
    face_mask: NDArray[np.bool_] | None = None
    notice: str = ""

    def __post_init__(self) -> None:
        problem = _first_problem(self)
        if problem:
            raise ModelFileError(f"morphable model '{self.name}': {problem}")

    @property
    def n_vertices(self) -> int:
        """Number of vertices V."""
        return len(self.mean)

    @property
    def n_shape(self) -> int:
        """Number of shape modes S."""
        return int(self.shape_basis.shape[2])

    @property
    def n_expression(self) -> int:
        """Number of expression modes E."""
        return int(self.expression_basis.shape[2])

    @property
    def is_dense(self) -> bool:
        """Whether there are triangles. A basis of the 68 landmark vertices has none."""
        return len(self.triangles) > 0

    @cached_property
    def face_triangles(self) -> Ints:
        """Triangles (F', 3) of the face alone: those within `face_mask`, or all if there is no mask."""
        if self.face_mask is None:
            return self.triangles
        return np.ascontiguousarray(self.triangles[self.face_mask[self.triangles].all(1)])

    @cached_property
    def digest(self) -> str:
        """First 16 hexadecimal digits of a SHA-256 over geometry and bases. Weights name their model by it."""
        sha = hashlib.sha256()
        for array in (self.mean, self.shape_basis, self.expression_basis, self.triangles, self.landmarks):
            sha.update(str(array.shape).encode() + np.ascontiguousarray(array).tobytes())
        return sha.hexdigest()[:16]

    @cached_property
    def _flat_basis(self) -> Floats:
        """Shape and expression modes as rows (S + E, 3V). This memory order makes `vertices` fast."""
        joined = np.concatenate([self.shape_basis, self.expression_basis], axis=2)
        return np.ascontiguousarray(joined.reshape(3 * self.n_vertices, -1).T)

    @property
    def basis(self) -> Floats:
        """Shape basis followed by the expression basis, (V, 3, S + E)."""
        return self._flat_basis.T.reshape(self.n_vertices, 3, -1)

    @cached_property
    def coefficient_std(self) -> Floats:
        """Standard deviations of the shape coefficients, followed by those of the expression coefficients, (S + E,)."""
        return np.concatenate([self.shape_std, self.expression_std])

    def vertices(self, shape: NDArray[np.floating], expression: NDArray[np.floating]) -> Floats:
        """Compute the meshes of coefficients.

        Args:
            shape: (..., up to S) raw shape coefficients. Missing trailing coefficients are zero.
            expression: (..., up to E) raw expression coefficients, as `shape`.

        Returns:
            Vertices (..., V, 3) in model units, x right, y up, z towards the camera.

        Raises:
            ValueError: there are more coefficients than modes.
        """
        shape, expression = np.asarray(shape), np.asarray(expression)
        batch = np.broadcast_shapes(shape.shape[:-1], expression.shape[:-1])
        if shape.shape[-1] > self.n_shape or expression.shape[-1] > self.n_expression:
            raise ValueError(
                f"model '{self.name}' has {self.n_shape} shape and {self.n_expression} expression modes, "
                f"got {shape.shape[-1]} and {expression.shape[-1]} coefficients"
            )
        coefficients = np.zeros((*batch, self.n_shape + self.n_expression), np.float32)
        coefficients[..., : shape.shape[-1]] = shape
        coefficients[..., self.n_shape : self.n_shape + expression.shape[-1]] = expression
        return self.mean + (coefficients @ self._flat_basis).reshape(*batch, self.n_vertices, 3)

    def landmark_model(self) -> MorphableModel:
        """Restrict the model to its 68 landmark vertices. The result has no triangles."""
        return MorphableModel(
            name=f"{self.name}-68",
            licence=self.licence,
            mean=self.mean[self.landmarks],
            shape_basis=self.shape_basis[self.landmarks],
            shape_std=self.shape_std,
            expression_basis=self.expression_basis[self.landmarks],
            expression_std=self.expression_std,
            triangles=np.empty((0, 3), np.int32),
            landmarks=np.arange(N_LANDMARKS, dtype=np.int32),
            mm_per_unit=self.mm_per_unit,
            expression_names=self.expression_names,
            notice=self.notice,
        )

    def truncated(self, n_shape: int, n_expression: int) -> MorphableModel:
        """Return a model with the first `n_shape` shape and `n_expression` expression modes only.

        Raises:
            ModelFileError: the model has fewer modes.
        """
        if n_shape > self.n_shape or n_expression > self.n_expression:
            raise ModelFileError(
                f"morphable model '{self.name}' has {self.n_shape} shape and {self.n_expression} expression modes, "
                f"{n_shape} and {n_expression} are needed"
            )
        return replace(
            self,
            shape_basis=self.shape_basis[..., :n_shape],
            shape_std=self.shape_std[:n_shape],
            expression_basis=self.expression_basis[..., :n_expression],
            expression_std=self.expression_std[:n_expression],
            expression_names=self.expression_names[:n_expression],
        )

    def __reduce_ex__(self, protocol: SupportsIndex) -> str | tuple[Any, ...]:
        """Pickle and copy the bundled model as a reference by digest, so that predicted faces stay small.

        Other models are pickled whole, once per pickle: another process could not find them again.
        """
        from bfm_assets import open_face

        return (_bundled, (self.digest,)) if self is open_face() else super().__reduce_ex__(protocol)

    def __getstate__(self) -> dict[str, Any]:
        """Return the fields only; what was derived from them is derived again."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    def save(self, path: str | Path) -> None:
        """Write the model to an `.npz` file: one array per field, names as arrays of text, no pickle."""
        arrays: dict[str, Any] = {
            f.name: np.asarray(value) for f in fields(self) if (value := getattr(self, f.name)) is not None
        }
        np.savez_compressed(path, **arrays)

    @classmethod
    def load(cls, path: str | Path) -> MorphableModel:
        """Read a model that `save` wrote.

        Raises:
            ModelFileError: the file is missing, damaged, incomplete or inconsistent.
        """
        required = tuple(f.name for f in fields(cls) if f.default is MISSING)
        arrays = read_arrays(path, required, "morphable model")
        known = {f.name for f in fields(cls)}
        values: dict[str, object] = {key: value for key, value in arrays.items() if key in known}
        with reading(path, "morphable model"):
            for key in ("name", "licence", "notice"):
                values[key] = str(arrays.get(key, ""))
            values["mm_per_unit"] = float(arrays.get("mm_per_unit", np.asarray(1.0)))
            for key in ("expression_names", "region_names"):
                values[key] = tuple(arrays.get(key, np.empty(0, str)).tolist())
            return cls(**values)  # type: ignore[arg-type]


def _bundled(digest: str) -> MorphableModel:
    """Find the bundled model of a pickle."""
    from bfm_assets import open_face

    model = open_face()
    if model.digest != digest:
        raise ModelFileError(
            f"pickled with another version of the bundled face model ({digest}, this is {model.digest}); predict again"
        )
    return model


def _first_problem(model: MorphableModel) -> str | None:
    """Describe the first inconsistency of a model in one phrase, or return None."""
    v, s, e = len(model.mean), len(model.shape_std), len(model.expression_std)
    expected: dict[str, tuple[tuple[int, ...], type[np.generic]]] = {
        "mean": ((v, 3), np.float32),
        "shape_basis": ((v, 3, s), np.float32),
        "shape_std": ((s,), np.float32),
        "expression_basis": ((v, 3, e), np.float32),
        "expression_std": ((e,), np.float32),
        "triangles": ((len(model.triangles), 3), np.int32),
        "landmarks": ((N_LANDMARKS,), np.int32),
        "uv": ((v, 2), np.float32),
        "colours": ((v, 3), np.uint8),
        "region_weights": ((v, len(model.region_names)), np.uint8),
        "face_mask": ((v,), np.bool_),
    }
    for name, (shape, dtype) in expected.items():
        array = getattr(model, name)
        if array is None:
            continue
        if array.shape != shape or array.dtype != dtype:
            return f"{name} is {array.dtype} {array.shape}, expected {np.dtype(dtype)} {shape}"
        if array.dtype == np.float32 and not np.isfinite(array).all():
            return f"{name} has values that are not finite"
    for name in ("triangles", "landmarks"):
        array = getattr(model, name)
        if array.size and (array.min() < 0 or array.max() >= v):
            return f"{name} has indices outside 0..{v - 1}"
    if (model.shape_std <= 0).any() or (model.expression_std <= 0).any():
        return "standard deviations must be positive"
    if not 0 < model.mm_per_unit < np.inf:
        return f"mm_per_unit is {model.mm_per_unit}, expected a positive number"
    if model.expression_names and len(model.expression_names) != e:
        return f"{len(model.expression_names)} expression names for {e} modes"
    if model.region_weights is not None and (model.region_weights.sum(1, dtype=np.int64) != 255).any():
        return "the region weights of a vertex must sum to 255"
    return None
