"""Convert the arrays of public formats to those of `MorphableModel`.

Every function checks its input. The argument `what` is the name of the array in the message of a `ModelFileError`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bfm_assets.safe_files import ModelFileError
from bfm_assets.schema import N_LANDMARKS, Floats, Ints


def require_fields(content: Any, names: tuple[str, ...], model: str) -> None:
    """Check that the content of a file is a dictionary with some keys.

    Args:
        content: what a reader of `.mat` files or pickles returned.
        names: the keys.
        model: what the file should be, for the message.

    Raises:
        ModelFileError: it is something else, or a key is missing.
    """
    if not isinstance(content, dict):
        raise ModelFileError(f"not {model}: expected named arrays, found {type(content).__name__}")
    if missing := [name for name in names if name not in content]:
        raise ModelFileError(f"not {model}: it lacks {', '.join(missing)}")


def numbers(array: Any, what: str) -> Floats:
    """Convert an array of numbers to float32. Numbers that are too large become infinite.

    Raises:
        ModelFileError: it is not an array of numbers.
    """
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "biuf":
        raise ModelFileError(f"{what} is not an array of numbers")
    with np.errstate(over="ignore"):
        return np.asarray(array, np.float32)


def points(array: Any, what: str) -> Floats:
    """Convert x, y, z of one vertex after the other to an array (V, 3).

    Args:
        array: 3V numbers of any shape, for example (3V, 1).
        what: name of the array.

    Raises:
        ModelFileError: the number of values is not a positive multiple of three.
    """
    flat = numbers(array, what).ravel()
    if not flat.size or flat.size % 3:
        raise ModelFileError(f"{what} has {flat.size} values, expected three per vertex")
    return flat.reshape(-1, 3)


def joined_mean(shape: Any, expression: Any, names: tuple[str, str]) -> Floats:
    """Add the mean shape and the mean expression of a format that stores both.

    Args:
        shape: 3V numbers.
        expression: 3V numbers.
        names: names of the two arrays.

    Returns:
        Mean face (V, 3).

    Raises:
        ModelFileError: the two have different numbers of vertices.
    """
    parts = [points(array, what) for array, what in zip((shape, expression), names, strict=True)]
    if len(parts[0]) != len(parts[1]):
        raise ModelFileError(f"{len(parts[0])} vertices in {names[0]} and {len(parts[1])} in {names[1]}")
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray(parts[0] + parts[1])


def modes(array: Any, n_vertices: int, what: str) -> Floats:
    """Convert a matrix (3V, K) of K modes to a basis (V, 3, K).

    Raises:
        ModelFileError: the matrix does not have 3V rows.
    """
    matrix = numbers(array, what)
    if matrix.ndim != 2 or len(matrix) != 3 * n_vertices:
        raise ModelFileError(f"{what} is {matrix.shape}, expected {3 * n_vertices} rows for {n_vertices} vertices")
    return np.ascontiguousarray(matrix).reshape(n_vertices, 3, matrix.shape[1])


def per_mode(array: Any, count: int, what: str) -> Floats:
    """Return the first `count` values (count,) of an array that has one for each mode, such as standard deviations.

    Raises:
        ModelFileError: the array has fewer.
    """
    values = numbers(array, what).ravel()
    if values.size < count:
        raise ModelFileError(f"{what} has {values.size} values for {count} modes")
    return values[:count].copy()


def indices(array: Any, count: int, first: int, what: str) -> Ints:
    """Check indices and convert them to int32 indices that start at 0.

    Args:
        array: indices into `count` items, of any shape. Files often store them as floating point numbers.
        count: number of items.
        first: index of the first item in the file, 0 or 1.
        what: name of the array.

    Returns:
        Indices of the same shape, from 0 to `count - 1`.

    Raises:
        ModelFileError: an entry is not a valid index.
    """
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "iuf" or not array.size:
        raise ModelFileError(f"{what} is not an array of indices")
    if not np.isfinite(array).all() or array.min() < first or array.max() >= count + first or (array % 1).any():
        raise ModelFileError(f"{what} must hold indices from {first} to {count + first - 1}")
    return (array.astype(np.int64) - first).astype(np.int32)


def triangles(array: Any, vertices: Floats, first: int, what: str) -> Ints:
    """Convert triangles to int32 rows (F, 3) that are counter-clockwise seen from outside.

    Args:
        array: vertex indices, (F, 3) or (3, F).
        vertices: (V, 3).
        first: index of the first vertex in the file, 0 or 1.
        what: name of the array.

    Raises:
        ModelFileError: the array has another shape or invalid indices, or the vertices are not finite.
    """
    rows = indices(array, len(vertices), first, what)
    if rows.ndim != 2 or 3 not in rows.shape:
        raise ModelFileError(f"{what} is {rows.shape}, expected three indices per triangle")
    if not np.isfinite(vertices).all():
        raise ModelFileError("the mean has values that are not finite")
    return orient_outward(vertices, np.ascontiguousarray(rows if rows.shape[1] == 3 else rows.T))


def orient_outward(vertices: Floats, rows: Ints) -> Ints:
    """Reverse all triangles if the surface is inside out.

    The formats disagree on the winding of triangles. The sign of the enclosed volume, seen from the mean vertex, tells
    which one a file uses.

    Args:
        vertices: (V, 3).
        rows: triangles (F, 3), all wound the same way.

    Returns:
        Triangles (F, 3), counter-clockwise seen from outside.
    """
    corners = (vertices - vertices.mean(0, dtype=np.float64))[rows]
    volume = np.einsum("fi,fi->", corners[:, 0], np.cross(corners[:, 1], corners[:, 2]))
    return rows if volume >= 0 else np.ascontiguousarray(rows[:, ::-1])


def landmarks(array: Any, n_vertices: int, first: int, what: str) -> Ints:
    """Convert landmark indices to 68 vertex indices (68,).

    Args:
        array: 68 vertex indices, or 3DDFA's 204 coordinate indices 3i, 3i + 1, 3i + 2 of each vertex i.
        n_vertices: V.
        first: index of the first vertex in the file, 0 or 1.
        what: name of the array.

    Raises:
        ModelFileError: the array has another size or invalid indices.
    """
    if isinstance(array, np.ndarray) and array.size == 3 * N_LANDMARKS:
        coordinates = indices(array, 3 * n_vertices, 3 * first, what).reshape(-1, 3)
        if (coordinates % 3 != [0, 1, 2]).any() or (coordinates // 3 != coordinates[:, :1] // 3).any():
            raise ModelFileError(
                f"{what} has {coordinates.size} entries that are not the x, y and z of {N_LANDMARKS} vertices"
            )
        return coordinates[:, 0] // 3
    vertices = indices(array, n_vertices, first, what).ravel()
    if vertices.size != N_LANDMARKS:
        raise ModelFileError(f"{what} has {vertices.size} entries, expected {N_LANDMARKS} landmarks")
    return vertices


def colours(array: Any, n_vertices: int, peak: float, what: str) -> NDArray[np.uint8]:
    """Convert colours to RGB (V, 3) uint8. Values outside the range are clipped.

    Args:
        array: red, green, blue of one vertex after the other, 3V numbers from 0 to `peak`.
        n_vertices: V.
        peak: the value of full intensity in the file.
        what: name of the array.

    Raises:
        ModelFileError: the number of colours is not V, or values are not finite.
    """
    rgb = points(array, what)
    if len(rgb) != n_vertices:
        raise ModelFileError(f"{what} has {len(rgb)} colours for {n_vertices} vertices")
    if not np.isfinite(rgb).all():
        raise ModelFileError(f"{what} has values that are not finite")
    return np.asarray(np.clip(np.rint(rgb * (255 / peak)), 0, 255), np.uint8)
