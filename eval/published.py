"""Published figures to set beside ours, each as its authors printed it, unless marked as measured.

Measured rows are of the public 3DDFA-V2 weights (MobileNet-V1 x0.5) under the definitions of `eval`.
"""

from __future__ import annotations

# AFLW2000-3D, 68 points, 2D NME over sqrt(w h) in %: 0-30, 30-60, 60-90, mean of bins, mean on the reannotated labels.
AFLW2000_NME: tuple[tuple[str, float | None, float | None, float | None, float, float | None], ...] = (
    ("3DDFA (CVPR 2016)", 3.43, 4.24, 7.17, 4.94, None),
    ("3D-FAN (ICCV 2017)", 3.16, 3.53, 4.60, 3.76, None),
    ("PRNet (ECCV 2018)", 2.75, 3.51, 4.61, 3.62, None),
    ("2DASL (TMM 2020)", 2.75, 3.46, 4.45, 3.55, None),
    ("3DDFA-V2 (ECCV 2020)", 2.63, 3.42, 4.48, 3.51, None),
    ("3DDFA-V2 x0.5, measured", 2.93, 3.67, 4.78, 3.79, 3.02),
    ("SynergyNet (3DV 2021)", 2.65, 3.30, 4.27, 3.41, 2.65),
)

# AFLW2000-3D, mean absolute errors of the 1,969 poses in degrees: yaw, pitch, roll, mean.
AFLW2000_POSE: tuple[tuple[str, float, float, float, float], ...] = (
    ("FSA-Net (CVPR 2019)", 4.50, 6.08, 4.64, 5.07),
    ("3DDFA-V2, as printed by SynergyNet", 4.06, 5.26, 3.48, 4.27),
    ("6DRepNet (ICIP 2022)", 3.63, 4.91, 3.37, 3.97),
    ("3DDFA-V2 x0.5, measured", 2.96, 5.26, 3.48, 3.90),
    ("SynergyNet (3DV 2021)", 3.42, 4.09, 2.55, 3.35),
    ("opentrack OpNet (2023)", 2.74, 4.17, 2.41, 3.11),
)

# AFLW2000-3D, GTE and 3D NME in %.
AFLW2000_DEPTH: tuple[tuple[str, float, float | None], ...] = (
    ("JVCR (TIP 2019)", 7.28, None),
    ("3DDFA-V2 x0.5, measured", 7.51, 4.70),
)
