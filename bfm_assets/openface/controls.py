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
    8: (0, -81.5, 99.5), 9: (18, -78.5, 95.2), 10: (33.5, -72.5, 80), 11: (46, -64.5, 62.5), 12: (57.5, -49.5, 48.5),
    13: (64.5, -30, 39), 14: (68.5, -12.5, 34), 15: (72, 6.5, 30), 16: (73.5, 27, 27.5),
    # brow
    22: (14, 52, 107.8), 23: (26, 54.5, 105.1), 24: (38, 55, 98.8), 25: (49, 52, 90.3), 26: (57.5, 45, 78.8),
    # nose: bridge, tip, base
    27: (0, 31.5, 109.5), 28: (0, 20, 117.5), 29: (0, 9, 125.5), 30: (0, -2.5, 131.5),
    33: (0, -16, 116), 34: (6.5, -15, 114.2), 35: (12.5, -14, 109.5),
    # eye: inner corner, upper lid, outer corner, lower lid
    42: (17, 28.2, 92), 43: (27.3, 35, 95.6), 44: (37.5, 34.5, 94), 45: (45.2, 29.6, 86.4),
    46: (37.5, 26, 92.4), 47: (27, 25.7, 94.2),
    # outer border of the lips, from the middle above to the middle below
    51: (0, -29, 118), 52: (6, -28, 117.4), 53: (16.5, -31.8, 111.8), 54: (25.5, -38.3, 100.8),
    55: (17, -44, 108.8), 56: (9, -46.4, 113), 57: (0, -47, 114.4),
    # inner border of the lips
    62: (0, -36.6, 113.4), 63: (9, -36.7, 111.8), 64: (23, -38.2, 101.4), 65: (9, -37.8, 111.4), 66: (0, -37.8, 113),
}  # fmt: skip

MIDLINE: list[tuple[float, float, float]] = [
    (0, 141, 7), (0, 136.5, 27), (0, 129, 49), (0, 118, 64.5), (0, 106, 80), (0, 93, 93.5), (0, 79, 103),
    (0, 66, 108.5), (0, 54, 112), (0, 45, 112.6), (0, 38, 110.8), (0, -7.5, 128.5), (0, -12, 121.5), (0, -22, 115.6),
    (0, -54.5, 108.6), (0, -61, 109.6), (0, -69, 110.8), (0, -76.5, 107.5), (0, -83.5, 90), (0, -83, 73),
    (0, -85, 58), (0, -95, 47), (0, -110, 42), (0, -128, 40),
]  # fmt: skip
"""Forehead to neck in the plane of symmetry, landmarks apart."""

SIDE: list[tuple[float, float, float]] = [
    # forehead, row by row
    (30, 137.5, 0), (50, 128, -6), (66, 110, -10), (28, 134, 18), (48, 124, 10), (24, 127, 44), (43, 119.5, 33),
    (58, 111, 17), (26, 116.5, 58), (47, 111, 44), (62, 102, 27), (22, 105, 77), (42, 101, 65.5), (57, 94, 48),
    (67.5, 85, 28), (73.5, 78, 5), (20, 92.5, 90), (39, 90, 80.5), (54, 85, 65), (64.5, 77, 47), (18, 78.5, 101.5),
    (36, 77.5, 94.5), (50, 74, 81.5), (59.5, 69, 65.5), (68, 62.5, 46), (16, 66, 107.5), (32, 66, 102.5),
    (46, 64, 91.5), (55.5, 60, 78),
    # temple, side of the head
    (61, 52, 69), (66.5, 48, 54), (71.5, 46, 37), (73.5, 46, 18), (75, 50, 0), (75.5, 66, -4), (72.5, 92, -8),
    (75.5, 70, -18),
    # brow ridge, orbit
    (8, 47, 111.2), (19, 46.5, 104.8), (31, 47, 100.8), (43, 45.8, 93.8), (51.5, 41, 85.2), (54, 34, 80),
    (52.5, 27, 80), (60, 31, 70), (66.5, 28, 57), (71, 27, 43),
    # between eye and nose
    (12.5, 41, 104.5), (9, 33.5, 103), (13, 28.5, 96.5), (14.5, 22, 98.5),
    # below the eye
    (20, 20, 98), (28, 17.5, 97.8), (38, 17.5, 95), (47, 20, 88),
    # nose: side of the bridge, tip, wing
    (4.2, 31.3, 107.5), (4.5, 20, 114.5), (5, 9, 121.8), (5, -1, 128.2), (3.2, -7, 127), (8.6, 19, 107.6),
    (9.6, 9, 113.6), (9.5, 1.5, 120), (14.2, 1.5, 114), (17.2, -6, 110.5), (15, -1, 114.2), (13, -6.5, 118),
    (8.5, -4.5, 123.6), (15, -11.3, 110), (12, -9.8, 115.4), (9.5, -8.4, 119.8), (6.3, -8.2, 123.6),
    (3, -11.8, 120.5), (3.6, -15.2, 116), (20, -5, 103.2), (19, -12, 104), (18, 4, 104.3), (15, 10.5, 105.6),
    # cheek
    (25, 6, 101.5), (30, 10, 99.5), (41, 7, 94), (50, 10, 85), (57, 11, 75), (64, 12, 61), (69, 12, 46),
    (27, -6, 101.8), (38, -6, 95), (49, -6, 84.5), (57, -6, 71), (64, -6, 54), (38, -20, 91.5), (48, -22, 80),
    (56, -22, 66), (62, -20, 50), (38, -34, 90), (47, -38, 77), (54, -38, 61), (60, -35, 47),
    # around the mouth
    (24, -15, 102.8), (5.2, -22.5, 116.4), (12, -21.5, 112.8), (19, -23.5, 108), (26.5, -28.5, 102),
    (30.5, -37.5, 96.5), (29, -46, 97.8), (22, -50.5, 102), (12, -54, 106.5), (34, -28, 96.5),
    # chin and jaw
    (10, -66, 109), (20, -62, 103), (12, -76, 104), (22, -71, 99.5), (31, -60, 94), (40, -50, 84), (48, -54, 68),
    (40, -63, 76), (30, -70, 89),
    # under the jaw, neck
    (17, -82.5, 86), (20, -83, 68), (33, -77.5, 66), (45, -72, 48), (52, -61, 34), (19, -90, 52), (19, -109, 39),
    (18, -128, 37), (34, -86, 45), (33, -105, 31), (32, -127, 28), (46, -79, 28), (44, -100, 14), (43, -126, 12),
    (53, -66, 14), (50, -90, -3), (48, -123, -9),
    # in front of and behind the ear
    (58.5, -45, 33), (65, -26, 26), (70, -5, 22), (73.5, 12, 22), (75.5, 30, 17), (75, 22, 6), (73.5, 5, 6),
    (70, -10, 8), (63.5, -30, 8), (55, -52, 9), (75, 34, -8), (73.5, 12, -12), (68, -14, -10), (61, -38, -8),
    (54, -66, -10),
]  # fmt: skip
"""The right image half beside the plane of symmetry, landmarks apart."""

BOUNDARY: list[tuple[float, float, float]] = [
    (0, 142, -12), (30, 138, -14), (52, 127, -18), (67, 108, -22), (74, 86, -25), (76, 62, -26), (75.5, 38, -26),
    (73.5, 16, -24), (70, -4, -20), (64.5, -24, -17), (58, -46, -15), (53, -68, -13), (50, -92, -12), (49, -123, -12),
    (43, -126, 12), (32, -127, 28), (18, -128, 37), (0, -128, 40),
]  # fmt: skip
"""The border of the mesh, from the top of the forehead over the side of the head to the front of the neck."""

EYE_CENTRE: tuple[float, float, float] = (31, 30.4, 81.6)
EYE_RADIUS = 12.4


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
