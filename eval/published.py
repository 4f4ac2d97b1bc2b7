"""Figures of other systems on AFLW2000-3D, to set beside ours: as their authors printed them, or measured.

Measured rows are of the public 3DDFA-V2 weights (MobileNet-V1 x0.5) under the definitions of `eval`. A figure depends
on which crops the network saw, and a pose on how it was taken from the network's output, so every row says it.
"""

from __future__ import annotations

from typing import NamedTuple

# Values of `Peer.crops`.
PUBLISHED_CROPS = "published"
OUR_CROPS = "ours"
UNKNOWN = "-"
CROPS_NOTE = (
    f"Crops: '{PUBLISHED_CROPS}' are those of 3DDFA's benchmark (its AFLW2000-3D_crop.roi_box.npy); '{OUR_CROPS}' are "
    "squares of sqrt(2) times the longer side of the true landmarks' box, one pixel up and left of the published ones."
)

# Values of `Peer.pose_from`.
TRUE_ROTATION = "true rotation"
LIKELY_ANGLES = "likely angles"
MATRIX_ROWS = "matrix rows"
WRONG_ENTRY = "R[2, 0]"
OWN_OUTPUT = "own output"
POSE_NOTE = (
    f"Pose from: '{TRUE_ROTATION}', the rotation nearest to the predicted matrix; '{LIKELY_ANGLES}', of that rotation, "
    f"with a prior of pitch and roll near profile (synergy/head_pose.py); '{MATRIX_ROWS}', its first two rows, each "
    f"scaled to length 1, which need not be orthogonal; '{WRONG_ENTRY}', SynergyNet's extraction, which takes yaw from "
    "that entry and is exact only where pitch and roll are 0; "
    f"'{OWN_OUTPUT}', of a network that predicts the pose itself."
)


class Peer(NamedTuple):
    """One row of a table of peers.

    Attributes:
        method: what the system is called.
        figures: in the order of the table's columns; None where the figure is not known.
        crops: which crops the network was given.
        pose_from: how the angles were taken from the network's output.
    """

    method: str
    figures: tuple[float | None, ...]
    crops: str = UNKNOWN
    pose_from: str = UNKNOWN


# 68 points, 2D NME over sqrt(w h) in %: 0-30, 30-60, 60-90, mean of bins, mean on the reannotated labels.
AFLW2000_NME = (
    Peer("3DDFA (CVPR 2016)", (3.43, 4.24, 7.17, 4.94, None)),
    Peer("3D-FAN (ICCV 2017)", (3.16, 3.53, 4.60, 3.76, None)),
    Peer("PRNet (ECCV 2018)", (2.75, 3.51, 4.61, 3.62, None)),
    Peer("2DASL (TMM 2020)", (2.75, 3.46, 4.45, 3.55, None)),
    Peer("3DDFA-V2 (ECCV 2020)", (2.63, 3.42, 4.48, 3.51, None)),
    Peer("3DDFA-V2 x0.5, measured", (2.93, 3.67, 4.78, 3.79, 3.02), PUBLISHED_CROPS),
    Peer("3DDFA-V2 x0.5, measured", (None, None, None, 3.73, 2.97), OUR_CROPS),
    Peer("SynergyNet (3DV 2021)", (2.65, 3.30, 4.27, 3.41, 2.65), PUBLISHED_CROPS),
)

# Mean absolute errors of the 1,969 poses in degrees: yaw, pitch, roll, mean.
AFLW2000_POSE = (
    Peer("FSA-Net (CVPR 2019)", (4.50, 6.08, 4.64, 5.07), pose_from=OWN_OUTPUT),
    Peer("3DDFA-V2, as printed by SynergyNet", (4.06, 5.26, 3.48, 4.27), PUBLISHED_CROPS, WRONG_ENTRY),
    Peer("6DRepNet (ICIP 2022)", (3.63, 4.91, 3.37, 3.97), pose_from=OWN_OUTPUT),
    Peer("3DDFA-V2 x0.5, measured", (2.96, 5.26, 3.48, 3.90), PUBLISHED_CROPS, MATRIX_ROWS),
    Peer("3DDFA-V2 x0.5, measured", (None, None, None, 3.86), PUBLISHED_CROPS, TRUE_ROTATION),
    Peer("3DDFA-V2 x0.5, measured", (None, None, None, 3.88), OUR_CROPS, TRUE_ROTATION),
    Peer("SynergyNet (3DV 2021)", (3.42, 4.09, 2.55, 3.35), PUBLISHED_CROPS, WRONG_ENTRY),
    Peer("opentrack OpNet (2023)", (2.74, 4.17, 2.41, 3.11), pose_from=OWN_OUTPUT),
)

# GTE and 3D NME in %.
AFLW2000_DEPTH = (
    Peer("JVCR (TIP 2019)", (7.28, None)),
    Peer("3DDFA-V2 x0.5, measured", (7.51, 4.70), PUBLISHED_CROPS),
    Peer("3DDFA-V2 x0.5, measured", (7.43, None), OUR_CROPS),
)
