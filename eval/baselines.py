"""Results of other systems on AFLW2000-3D, for the comparison tables: as their authors published them, or measured.

The rows named "measured" are of the public 3DDFA-V2 weights (MobileNet-V1 x0.5) under the definitions of this package
(docs/evaluation.md). A landmark error depends on the crops that the network was given, and a pose error on how the
angles were computed from its output. Every row therefore states both.
"""

from __future__ import annotations

from typing import NamedTuple

# Values of `Baseline.crops`.
PUBLISHED_CROPS = "published"
OUR_CROPS = "ours"
UNKNOWN = "-"
CROPS_NOTE = (
    f"Crops: '{PUBLISHED_CROPS}' are the crops of 3DDFA's benchmark (its AFLW2000-3D_crop.roi_box.npy). '{OUR_CROPS}' "
    "are squares whose side is sqrt(2) times the longer side of the true landmarks' box; they lie one pixel higher and "
    f"further left than the published ones. '{UNKNOWN}' means not known."
)

# Values of `Baseline.pose_from`.
TRUE_ROTATION = "true rotation"
LIKELY_ANGLES = "likely angles"
MATRIX_ROWS = "matrix rows"
WRONG_ENTRY = "R[2, 0]"
OWN_OUTPUT = "own output"
POSE_NOTE = (
    f"Pose from: '{TRUE_ROTATION}': the exact angles of the rotation nearest to the predicted matrix. "
    f"'{LIKELY_ANGLES}': the most likely angles of that rotation, given a prior of pitch and roll near profile "
    f"(synergy/head_pose.py). '{MATRIX_ROWS}': the first two rows of the predicted matrix, each scaled to length 1, "
    f"which may not be orthogonal. '{WRONG_ENTRY}': SynergyNet's formula, which takes yaw from that entry and is exact "
    f"only where pitch and roll are 0. '{OWN_OUTPUT}': the network predicts the angles or the rotation itself."
)


class Baseline(NamedTuple):
    """One row of a comparison table.

    Attributes:
        method: name of the system.
        values: in the order of the table's columns, None where unknown.
        crops: the crops that the network was given.
        pose_from: how the angles were computed from the network's output.
    """

    method: str
    values: tuple[float | None, ...]
    crops: str = UNKNOWN
    pose_from: str = UNKNOWN


# 2D NME of 68 points over sqrt(w h) in %: 0-30, 30-60, 60-90, mean of the bins, mean on the reannotated labels.
AFLW2000_NME = (
    Baseline("3DDFA (CVPR 2016)", (3.43, 4.24, 7.17, 4.94, None)),
    Baseline("3D-FAN (ICCV 2017)", (3.16, 3.53, 4.60, 3.76, None)),
    Baseline("PRNet (ECCV 2018)", (2.75, 3.51, 4.61, 3.62, None)),
    Baseline("2DASL (TMM 2020)", (2.75, 3.46, 4.45, 3.55, None)),
    Baseline("3DDFA-V2 (ECCV 2020)", (2.63, 3.42, 4.48, 3.51, None)),
    Baseline("3DDFA-V2 x0.5, measured", (2.93, 3.67, 4.78, 3.79, 3.02), PUBLISHED_CROPS),
    Baseline("3DDFA-V2 x0.5, measured", (None, None, None, 3.73, 2.97), OUR_CROPS),
    Baseline("SynergyNet (3DV 2021)", (2.65, 3.30, 4.27, 3.41, 2.65), PUBLISHED_CROPS),
)

# Mean absolute errors of the 1,969 poses in degrees: yaw, pitch, roll, mean.
AFLW2000_POSE = (
    Baseline("FSA-Net (CVPR 2019)", (4.50, 6.08, 4.64, 5.07), pose_from=OWN_OUTPUT),
    Baseline("3DDFA-V2, as printed by SynergyNet", (4.06, 5.26, 3.48, 4.27), PUBLISHED_CROPS, WRONG_ENTRY),
    Baseline("6DRepNet (ICIP 2022)", (3.63, 4.91, 3.37, 3.97), pose_from=OWN_OUTPUT),
    Baseline("3DDFA-V2 x0.5, measured", (2.96, 5.26, 3.48, 3.90), PUBLISHED_CROPS, MATRIX_ROWS),
    Baseline("3DDFA-V2 x0.5, measured", (None, None, None, 3.86), PUBLISHED_CROPS, TRUE_ROTATION),
    Baseline("3DDFA-V2 x0.5, measured", (None, None, None, 3.88), OUR_CROPS, TRUE_ROTATION),
    Baseline("SynergyNet (3DV 2021)", (3.42, 4.09, 2.55, 3.35), PUBLISHED_CROPS, WRONG_ENTRY),
    Baseline("opentrack OpNet (2023)", (2.74, 4.17, 2.41, 3.11), pose_from=OWN_OUTPUT),
)

# GTE and 3D NME in %.
AFLW2000_DEPTH = (
    Baseline("JVCR (TIP 2019)", (7.28, None)),
    Baseline("3DDFA-V2 x0.5, measured", (7.51, 4.70), PUBLISHED_CROPS),
    Baseline("3DDFA-V2 x0.5, measured", (7.43, None), OUR_CROPS),
)

# Dense NME and reconstruction error in %.
AFLW2000_DENSE = (
    Baseline("DSFNet (CVPR 2023)", (3.80, None)),
    Baseline("SADRNet (TIP 2021)", (4.02, None)),
    Baseline("3DDFA-V2 (ECCV 2020)", (4.18, None)),
)
