"""Groups, contours and mirroring permutation of the 68 iBUG landmarks. Indices count from 0.

Left and right are those of the subject.
"""

from __future__ import annotations

import numpy as np

# The nine curves of the landmarks: first index, last index + 1, and whether the curve is closed.
CONTOURS: dict[str, tuple[int, int, bool]] = {
    "jaw": (0, 17, False),
    "right brow": (17, 22, False),
    "left brow": (22, 27, False),
    "nose bridge": (27, 31, False),
    "nostrils": (31, 36, False),
    "right eye": (36, 42, True),
    "left eye": (42, 48, True),
    "outer lips": (48, 60, True),
    "inner lips": (60, 68, True),
}

# All landmarks but those of the jaw.
INNER51 = np.arange(17, 68)
OUTER_EYE_CORNERS = (36, 45)

# The mirroring permutation: landmark i of a mirrored face is landmark FLIP68[i] of the original face.
FLIP68 = np.array(
    [*range(16, -1, -1), *range(26, 16, -1), 27, 28, 29, 30, 35, 34, 33, 32, 31,
     45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40,
     54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55, 64, 63, 62, 61, 60, 67, 66, 65]
)  # fmt: skip
