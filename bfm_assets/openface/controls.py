"""Where the mean face passes: landmarks and control points of its right image half (x >= 0), in millimetres.

The frame is the model's: x right, y up, z towards the camera, the origin between the ears. The face is symmetric, so
only x >= 0 is written down; `mirrored` makes the other half.

The 68 landmark positions are rounded statistics: what published face models agree on for the position of these points
(the halfway point of the ICT-FaceKit and BFM landmark means, to half a millimetre), moved within the anthropometric
tables of `proportions` where those disagree. All other control points are drawn by hand.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]

MIRROR_68 = np.array(
    [*range(16, -1, -1), *range(26, 16, -1), 27, 28, 29, 30, 35, 34, 33, 32, 31]
    + [45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40]
    + [54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55, 64, 63, 62, 61, 60, 67, 66, 65]
)
"""The landmark (0-based iBUG index) on the other side of the face."""

LANDMARKS: dict[int, tuple[float, float, float]] = {
    # jaw line: chin, along the jaw bone, up to the root of the ear
    8: (0, -81.5, 100.5), 9: (18, -78.5, 96), 10: (33.5, -72.5, 80), 11: (46, -64.5, 62.5), 12: (57.5, -49.5, 48.5),
    13: (64.5, -30, 39), 14: (68.5, -12.5, 34), 15: (72, 6.5, 30), 16: (73.5, 27, 27.5),
    # brow
    22: (14, 52, 108.5), 23: (26, 54.5, 105.8), 24: (38, 55, 99.5), 25: (49, 52, 91), 26: (57.5, 45, 79.5),
    # nose: bridge, tip, base
    27: (0, 31.5, 109.5), 28: (0, 20, 117.5), 29: (0, 9, 125.5), 30: (0, -2.5, 131.5),
    33: (0, -16, 116), 34: (6.5, -15, 114.2), 35: (12.5, -14, 109.5),
    # eye: inner corner, upper lid, outer corner, lower lid
    42: (17.2, 28.2, 92), 43: (27.3, 34.6, 95.6), 44: (37.5, 34.2, 94), 45: (45, 29.5, 86.5),
    46: (37.5, 26.2, 92.4), 47: (27, 26, 94.2),
    # outer border of the lips, from the middle above to the middle below
    51: (0, -29, 118), 52: (6, -28, 117.4), 53: (16.5, -31.8, 111.8), 54: (25.5, -38.3, 100.8),
    55: (17, -44, 108.8), 56: (9, -46.4, 113), 57: (0, -47, 114.4),
    # inner border of the lips
    62: (0, -36.2, 113.4), 63: (9, -36.3, 111.8), 64: (23, -38.2, 101.4), 65: (9, -37.7, 111.4), 66: (0, -37.8, 113),
}  # fmt: skip

MIDLINE: list[tuple[float, float, float]] = [
    (0, 118, 54), (0, 106, 76), (0, 93, 92), (0, 79, 102.5), (0, 66, 108.5), (0, 54, 112), (0, 45, 112.6),
    (0, 38, 110.8), (0, -7.5, 128.5), (0, -12, 121.5), (0, -22, 115.6),
    (0, -54.5, 108.6), (0, -61, 109.6), (0, -69, 112), (0, -76.5, 109),
    (0, -83.5, 90), (0, -83, 73), (0, -85, 58), (0, -95, 47), (0, -110, 42), (0, -128, 40),
]  # fmt: skip
"""Forehead to neck in the plane of symmetry, landmarks apart."""

SIDE: list[tuple[float, float, float]] = [
    # forehead, row by row
    (27, 117, 48), (49, 112, 34), (64, 104, 16), (22, 105.5, 73.5), (43, 102, 61), (59, 95, 43), (69, 86, 24),
    (74.5, 77, 5), (20, 92.5, 90), (39, 90, 80.5), (54, 85, 65), (64.5, 77, 47), (18, 78.5, 101.5),
    (36, 77.5, 94.5), (50, 74, 81.5), (59.5, 69, 65.5), (68, 62.5, 46), (16, 66, 107.5), (32, 66, 102.5),
    (46, 64, 91.5), (55.5, 60, 78),
    # temple, side of the head
    (61, 52, 69), (66.5, 48, 54), (71.5, 46, 37), (74.5, 46, 18), (76, 52, 4), (75.5, 64, 6), (72.5, 92, -3),
    # brow ridge, fold of the upper lid, orbit
    (8, 47, 111.2), (19, 46.5, 105.4), (31, 47, 102.8), (43, 45.8, 96.2), (51.5, 41, 87), (21, 41.2, 99.6),
    (31, 42, 98.8), (41, 40.6, 94.6), (54, 34, 80), (52.5, 27, 80), (60, 31, 70), (66.5, 28, 57), (71, 27, 43),
    # between eye and nose
    (12.5, 41, 104.5), (9, 33.5, 103), (13, 28.5, 96.5), (14.5, 22, 98.5),
    # below the eye
    (20, 20, 98), (28, 17.5, 97.8), (38, 17.5, 95), (47, 20, 88),
    # nose: side of the bridge, tip, wing
    (4.2, 31.3, 107.5), (4.5, 20, 115.6), (5, 9, 123.3), (5, -1, 128.8), (3.2, -7, 127), (8.6, 19, 108.5),
    (9.6, 9, 115), (9.5, 1.5, 120), (14.2, 1.5, 114), (17.2, -6, 110.5), (15, -1, 114.2), (13, -6.5, 118),
    (8.5, -4.5, 123.6), (15.8, -11.5, 110.2), (12, -11.8, 115.2), (9.5, -10.2, 119.5), (6.5, -9.5, 123.5),
    (3, -11.8, 120.5), (3.6, -15.2, 116), (20, -5, 103.2), (18.2, -12, 104.8), (18, 4, 104.3), (15, 10.5, 105.6),
    # cheek
    (25, 6, 101.5), (30, 10, 99.5), (41, 7, 94), (50, 10, 85), (57, 11, 75), (64, 12, 61), (69, 12, 46),
    (27, -6, 101.8), (38, -6, 95), (49, -6, 84.5), (57, -6, 71), (64, -6, 54), (38, -20, 91.5), (48, -22, 80),
    (56, -22, 66), (62, -20, 50), (38, -34, 90), (47, -38, 77), (54, -38, 61), (60, -35, 47),
    # around the mouth
    (24, -15, 102.8), (5.2, -22.5, 116.4), (12, -21.5, 112.8), (19, -23.5, 108), (26.5, -28.5, 102), (30.5, -37.5, 96.5),
    (29, -46, 97.8), (22, -50.5, 102), (12, -54, 106.5), (34, -28, 96.5),
    # chin and jaw
    (10, -66, 110), (20, -62, 103.5), (12, -76, 105.5), (22, -71, 99.5), (31, -60, 94), (40, -50, 84), (48, -54, 68),
    (40, -63, 76), (30, -70, 89),
    # under the jaw, neck
    (17, -82.5, 86), (20, -83, 68), (33, -77.5, 66), (45, -72, 48), (54, -60, 33), (19, -90, 52), (19, -109, 39),
    (19, -128, 37), (35, -86, 45), (36, -105, 29), (35, -127, 27), (49, -79, 27), (50, -100, 12), (47, -126, 10),
    (55, -66, 14), (56, -92, -4), (53, -123, -9),
    # in front of and behind the ear
    (61, -45, 30), (66, -26, 25), (70.5, -5, 22), (73.5, 12, 22), (75.5, 30, 17), (76.5, 22, 8), (75, 5, 8),
    (71, -10, 8), (66, -30, 8), (60, -52, 6), (76, 34, 0), (75, 10, -4), (68, -20, -4), (60, -60, -8),
]  # fmt: skip
"""The right image half beside the plane of symmetry, landmarks apart."""

BOUNDARY: list[tuple[float, float, float]] = [
    (0, 118, 54), (27, 117, 48), (49, 112, 34), (64, 104, 14), (72.5, 92, -5), (76, 72, -6), (77, 52, -4),
    (76, 34, -4), (75, 10, -6), (69, -20, -6), (63, -45, -8), (58, -68, -10), (55, -92, -11), (53, -123, -12),
    (47, -126, 10), (35, -127, 27), (19, -128, 37), (0, -128, 40),
]  # fmt: skip
"""The border of the mesh, from the top of the forehead over the side of the head to the front of the neck."""

EYE_CENTRE: tuple[float, float, float] = (31, 30.4, 82)
EYE_RADIUS = 12.0


def mirrored(points: Points) -> Points:
    """Points (N, 3) and their mirror images, those of the plane of symmetry once: (M, 3)."""
    side = points[points[:, 0] > 0]
    return np.concatenate([points, side * [-1, 1, 1]])


def landmarks68() -> Points:
    """The mean landmarks (68, 3) in iBUG order."""
    points = np.zeros((68, 3))
    for index, position in LANDMARKS.items():
        points[index] = position
        points[MIRROR_68[index]] = (-position[0], position[1], position[2])
    return points
