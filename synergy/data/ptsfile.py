"""The 300-W `.pts` text format: `version: 1`, `n_points: N`, then N lines `x y` between braces.

Its pixels count from 1.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from synergy.data.reader import SampleError, checked_points


def read_pts(content: bytes, name: str) -> NDArray[np.float32]:
    r"""Read a `.pts` file.

    Args:
        content: the bytes of the file.
        name: its name, for error messages.

    Returns:
        (68, 2) float32 in pixels that count from 0.

    Raises:
        SampleError: not such a file, or another number of points.

    Example:
        >>> lines = "".join(f"{i}.5 {i}.0\n" for i in range(1, 69))
        >>> read_pts(f"version: 1\nn_points: 68\n{{\n{lines}}}\n".encode(), "face.pts")[0].tolist()
        [0.5, 0.0]
    """
    text = content.decode("latin-1")
    head, opened, rest = text.partition("{")
    body, closed, _ = rest.partition("}")
    if not opened or not closed:
        raise SampleError(f"{name} is not a complete .pts file: no points between braces")
    rows = [line.split() for line in body.splitlines() if line.strip()]
    try:
        points = np.array([[float(value) for value in row] for row in rows])
    except ValueError:
        raise SampleError(f"{name} has a line that is not a point 'x y'") from None
    lines = [line.strip() for line in head.splitlines()]
    stated = [line.removeprefix("n_points").strip(": ") for line in lines if line.startswith("n_points")]
    if stated and stated[0] != str(len(rows)):
        raise SampleError(f"{name} states {stated[0]} points and holds {len(rows)}")
    return checked_points(points, 68, 2, name) - np.float32(1)
