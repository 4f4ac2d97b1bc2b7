"""From the arrays that public formats store to those of the schema.

Every function checks what it takes and raises a `ModelFileError` in one line; `what` names the array in it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bfm_assets.errors import ModelFileError
from bfm_assets.schema import N_LANDMARKS, Floats, Ints

_N_POSE = 12  # pose parameters in 3DDFA's files


def numbers(array: Any, what: str) -> Floats:
    """A float32 array."""
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "biuf":
        raise ModelFileError(f"{what} is no array of numbers")
    with np.errstate(over="ignore"):
        return np.asarray(array, np.float32)


def points(array: Any, what: str) -> Floats:
    """Vertices (V, 3) of x, y, z in turn: (3V,), (3V, 1), (1, 3V)."""
    flat = numbers(array, what).ravel()
    if not flat.size or flat.size % 3:
        raise ModelFileError(f"{what} has {flat.size} values, not three a vertex")
    return flat.reshape(-1, 3)


def joined_mean(shape: Any, expression: Any, names: tuple[str, str]) -> Floats:
    """The mean face (V, 3) of a format that stores a mean shape and a mean expression; `names` of the two."""
    parts = [points(array, what) for array, what in zip((shape, expression), names, strict=True)]
    if len(parts[0]) != len(parts[1]):
        raise ModelFileError(f"{len(parts[0])} vertices in {names[0]} and {len(parts[1])} in {names[1]}")
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray(parts[0] + parts[1])


def modes(array: Any, n_vertices: int, what: str) -> Floats:
    """A basis (V, 3, K) of a matrix (3V, K)."""
    matrix = numbers(array, what)
    if matrix.ndim != 2 or len(matrix) != 3 * n_vertices:
        raise ModelFileError(f"{what} is {matrix.shape}, expected {3 * n_vertices} rows for {n_vertices} vertices")
    return np.ascontiguousarray(matrix).reshape(n_vertices, 3, matrix.shape[1])


def deviations(array: Any, count: int, what: str) -> Floats:
    """The first `count` of an array of standard deviations."""
    values = numbers(array, what).ravel()
    if values.size < count:
        raise ModelFileError(f"{what} has {values.size} values for {count} modes")
    return values[:count].copy()


def coefficient_deviations(array: Any, count: int, what: str) -> Floats:
    """Return the standard deviations (count,) of the coefficients in a 3DDFA whitening.

    The array begins with those of 12 pose parameters. Entries after those of the coefficients are ignored.
    """
    return deviations(array, _N_POSE + count, what)[_N_POSE:]


def indices(array: Any, count: int, first: int, what: str) -> Ints:
    """Indices into `count` things, counted from `first` in the file and from 0 in the result, in the file's shape."""
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "iuf" or not array.size:
        raise ModelFileError(f"{what} is no array of indices")
    if not np.isfinite(array).all() or array.min() < first or array.max() >= count + first or (array % 1).any():
        raise ModelFileError(f"{what} has entries that are no indices {first}..{count + first - 1}")
    return (array.astype(np.int64) - first).astype(np.int32)


def triangles(array: Any, vertices: Floats, first: int, what: str) -> Ints:
    """Triangles (F, 3), turned to be counter-clockwise seen from outside; the file has (F, 3) or (3, F)."""
    found = indices(array, len(vertices), first, what)
    if found.ndim != 2 or 3 not in found.shape:
        raise ModelFileError(f"{what} is {found.shape}, expected three indices a triangle")
    if not np.isfinite(vertices).all():
        raise ModelFileError("the mean has values that are not finite")
    rows = found if found.shape[1] == 3 else found.T
    return outward(vertices, np.ascontiguousarray(rows))


def outward(vertices: Floats, rows: Ints) -> Ints:
    """Triangles (F, 3) as they are, or all reversed when the surface they bound would be inside out.

    Formats disagree on winding, and some on themselves; the sign of the volume seen from the mesh's middle does not.
    """
    corners = (vertices - vertices.mean(0, dtype=np.float64))[rows]
    volume = np.einsum("fi,fi->", corners[:, 0], np.cross(corners[:, 1], corners[:, 2]))
    return rows if volume >= 0 else np.ascontiguousarray(rows[:, ::-1])


def landmarks(array: Any, n_vertices: int, first: int, what: str) -> Ints:
    """The 68 landmark vertices of 68 vertex indices, or of the 204 coordinate indices 3i, 3i + 1, 3i + 2 of 3DDFA."""
    if isinstance(array, np.ndarray) and array.size == 3 * N_LANDMARKS:
        flat = indices(array, 3 * n_vertices, 3 * first, what).reshape(-1, 3)
        if (flat % 3 != [0, 1, 2]).any() or (flat // 3 != flat[:, :1] // 3).any():
            raise ModelFileError(f"{what} has {flat.size} entries that are not x, y, z of {N_LANDMARKS} vertices")
        return flat[:, 0] // 3
    found = indices(array, n_vertices, first, what).ravel()
    if found.size != N_LANDMARKS:
        raise ModelFileError(f"{what} has {found.size} entries, expected {N_LANDMARKS} landmarks")
    return found


def colours(array: Any, n_vertices: int, peak: float, what: str) -> NDArray[np.uint8]:
    """RGB (V, 3) of colours in 0..`peak`, three a vertex."""
    rgb = points(array, what)
    if len(rgb) != n_vertices:
        raise ModelFileError(f"{what} has {len(rgb)} colours for {n_vertices} vertices")
    if not np.isfinite(rgb).all():
        raise ModelFileError(f"{what} has values that are not finite")
    return np.asarray(np.clip(np.rint(rgb * (255 / peak)), 0, 255), np.uint8)
