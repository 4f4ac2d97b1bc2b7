"""`FaceSample`, the record that all readers yield."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

# Values of `visibility68`. They are those of MERL-RAV.
VISIBLE, OCCLUDED, SELF_OCCLUDED, UNLABELLED = 2, 1, 0, -1


@dataclass(frozen=True, eq=False)
class FaceSample:
    """One labelled face, in the conventions of `synergy.geometry` (0-based pixels, y down).

    Attributes:
        name: file name of the sample in its data set, which is unique there.
        image: (H, W, 3) uint8 RGB.
        landmarks68: (68, 2) or (68, 3) float32 in image pixels, NaN where unknown; z larger is nearer.
        visibility68: (68,) int8 of VISIBLE, OCCLUDED (by an object), SELF_OCCLUDED (by the face itself) or UNLABELLED.
        points21: (21, 2) float32 in image pixels in AFLW's order, NaN where unknown, or None.
        params: (12 + S + E,) float32 pose `[s R | t]` in image pixels, raw shape and expression, or None.
        pose_deg: (3,) float32 pitch, yaw, roll in degrees, or None.
        box: (4,) float32 x0, y0, x1, y1 of the face in image pixels, or None.
        image_size: width and height of the image in pixels, where the reader knows them without decoding it, or None.
        identity: number of the person within the source, -1 where unknown.
        attributes: names and values (1, 0, or -1 for unknown) of what the source states about the face.
        source: the data set, for example "aflw2000-3d".
        licence: its terms, one line.
    """

    name: str
    image: NDArray[np.uint8]
    landmarks68: NDArray[np.float32]
    visibility68: NDArray[np.int8]
    points21: NDArray[np.float32] | None = None
    params: NDArray[np.float32] | None = None
    pose_deg: NDArray[np.float32] | None = None
    box: NDArray[np.float32] | None = None
    image_size: tuple[int, int] | None = None
    identity: int = -1
    attributes: Mapping[str, int] = field(default_factory=dict)
    source: str = ""
    licence: str = ""
