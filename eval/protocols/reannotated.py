"""Read the second label set of AFLW2000-3D (Bulat and Tzimiropoulos, ICCV 2017).

It exists in several layouts: an `.npy` array (N, 68, 2 or 3) or (N, 2 or 3, 68) in the order of the sorted image names,
or an `.npz` with `names` and `reannotated68`. The coordinates are used as they are stored.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synergy.data.filetree import FileTree
from synergy.errors import UserError


def find_reannotated(tree: FileTree) -> str | None:
    """Find the label set in a data set.

    Returns:
        The name of an `.npy` with "reannotat" in its name, or of an `.npz` with `reannotated68`; None without either.
    """
    for name in tree.with_suffix(".npy"):
        if "reannotat" in name.lower():
            return name
    for name in tree.with_suffix(".npz"):
        try:
            if "reannotated68" in _load(tree.read(name), name):
                return name
        except UserError:
            continue
    return None


def read_reannotated(source: Path | tuple[FileTree, str], names: Sequence[str]) -> NDArray[np.float64]:
    """Read the labels of a data set.

    Args:
        source: path of the file, or a data set and the name of a file in it.
        names: the N images of the data set, sorted.

    Returns:
        (N, 68, 2) in the order of `names`.

    Raises:
        UserError: the file has another layout, another number of labels, values that are not finite, or a
            face without extent.
    """
    label = str(source) if isinstance(source, Path) else source[1]
    try:
        content = source.read_bytes() if isinstance(source, Path) else source[0].read(source[1])
    except OSError as error:
        raise UserError(f"{label}: cannot be read ({error.strerror or error})") from None
    loaded = _load(content, label)
    points = loaded.get("reannotated68")
    if points is None or points.dtype.kind not in "iuf" or points.ndim != 3:
        raise UserError(f"{label}: expected an array (N, 68, 2), or an .npz with names and reannotated68")
    if points.shape[2] == 68 and points.shape[1] in (2, 3):
        points = np.swapaxes(points, 1, 2)
    if points.shape[1] != 68 or points.shape[2] not in (2, 3):
        raise UserError(f"{label}: labels of shape {points.shape}, expected (N, 68, 2)")
    if "names" in loaded:
        rows = {PurePosixPath(str(name)).name: row for row, name in enumerate(loaded["names"])}
        if missing := [name for name in names if PurePosixPath(name).name not in rows]:
            raise UserError(f"{label}: no labels for {len(missing)} images, the first of them {missing[0]}")
        points = points[[rows[PurePosixPath(name).name] for name in names]]
    if len(points) != len(names):
        raise UserError(f"{label}: labels of {len(points)} images, but the data set has {len(names)}")
    if not np.isfinite(points).all():
        raise UserError(f"{label}: values that are not finite")
    points = points[..., :2].astype(np.float64)
    if (is_flat := (np.ptp(points, axis=1) == 0).any(1)).any():
        raise UserError(f"{label}: the box around the labels of {names[int(np.argmax(is_flat))]} is empty")
    return points


def _load(content: bytes, label: str) -> dict[str, NDArray[Any]]:
    try:
        loaded = np.load(io.BytesIO(content), allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return {"reannotated68": loaded}
        return {key: loaded[key] for key in loaded.files if key in ("names", "reannotated68")}
    except Exception as error:  # numpy and zipfile raise many kinds of errors for damaged files
        raise UserError(f"{label}: not a readable .npy or .npz file ({error})") from None
