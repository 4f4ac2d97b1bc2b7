"""Published measurements of adult faces, and where the same distances are on the mean face.

Means and standard deviations in mm, of men and of women, quoted from memory and not checked against the printed
tables, from

- NIOSH: Zhuang and Bradtmiller, "Head-and-face anthropometric survey of U.S. respirator users", J. Occup. Environ. Hyg.
  2(11), 2005 (2,543 men, 1,454 women);
- NAW: Farkas, "Anthropometry of the head and face", 2nd ed., 1994, North American young adults; see also Farkas et al.,
  "International anthropometric study of facial morphology", J. Craniofac. Surg. 16(4), 2005.

Populations differ: the distance between the inner eye corners is 31.4 +- 2.5 in White, 36.4 +- 1.6 in Asian and 38.5
+- 3.2 in African cohorts (review PMC9029890, 2022), the eye fissure 28.7 +- 1.7 in young Japanese women (J-STAGE jsma
56/4). The open face aims at the middle. The length of the head (NIOSH: men 197.3 +- 7.4, women 187.5 +- 7.2) cannot be
measured on a mesh that ends behind the ears; it only sets how much depth varies.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bfm_assets.openface.frame import to_designed
from bfm_assets.schema import MorphableModel

Spot = int | tuple[float, float, float]


@dataclass(frozen=True)
class Measurement:
    """One distance: mean and standard deviation of men and women, and its two ends on the mean face.

    An end is a landmark (0-based iBUG) or a position in mm in the designed frame, which stands for the nearest vertex
    of the mean face.
    """

    men: tuple[float, float]
    women: tuple[float, float]
    source: str
    ends: tuple[Spot, Spot]

    @property
    def mean(self) -> float:
        """Half way between the sexes."""
        return (self.men[0] + self.women[0]) / 2

    @property
    def std(self) -> float:
        """Of both sexes together."""
        within = (self.men[1] ** 2 + self.women[1] ** 2) / 2
        return float(np.sqrt(within + (self.men[0] - self.women[0]) ** 2 / 4))


def _across(x: float, y: float, z: float) -> tuple[Spot, Spot]:
    return (-x, y, z), (x, y, z)


MEASUREMENTS: dict[str, Measurement] = {
    "head breadth": Measurement((153.0, 6.0), (146.8, 5.6), "NIOSH", _across(75.5, 66, -4)),
    "bizygomatic breadth": Measurement((143.5, 6.9), (135.1, 6.5), "NIOSH", _across(69, 12, 46)),
    "bigonial breadth": Measurement((120.4, 10.4), (110.1, 8.9), "NIOSH", (4, 12)),
    "face height, sellion to menton": Measurement((122.7, 7.0), (113.4, 6.1), "NIOSH", (27, (0, -83.5, 90))),
    "nose height, sellion to subnasale": Measurement((52.0, 4.1), (48.2, 3.8), "NIOSH", (27, 33)),
    "nose breadth": Measurement((36.6, 4.1), (33.2, 3.9), "NIOSH", _across(17.2, -6, 110.5)),
    "nose protrusion": Measurement((21.1, 2.7), (19.8, 2.7), "NIOSH", (30, 33)),
    "mouth breadth": Measurement((51.1, 4.2), (48.0, 4.0), "NIOSH", (48, 54)),
    "upper vermilion height": Measurement((8.0, 1.3), (8.7, 1.3), "NAW", (51, 62)),
    "lower vermilion height": Measurement((9.3, 1.6), (9.4, 1.5), "NAW", (57, 66)),
    "intercanthal breadth": Measurement((33.3, 2.7), (31.8, 2.3), "NAW", (39, 42)),
    "biocular breadth": Measurement((91.2, 3.0), (87.8, 3.2), "NAW", (36, 45)),
    "eye fissure length": Measurement((31.3, 1.2), (28.7, 1.7), "NAW men, Japanese women", (42, 45)),
    "eye fissure height": Measurement((10.8, 0.9), (10.9, 1.2), "NAW", ((32, 35.3, 96), (32, 25.5, 94))),
}


def measure(model: MorphableModel, vertices: NDArray[np.floating]) -> dict[str, NDArray[np.float64]]:
    """Every measurement of meshes (..., V, 3) of the open face, in mm: name -> (...)."""

    def end(spot: Spot) -> int:
        if isinstance(spot, int):
            return int(model.landmarks[spot])
        return int(np.linalg.norm(to_designed(model.mean) - np.asarray(spot), axis=1).argmin())

    return {
        name: np.linalg.norm(vertices[..., end(m.ends[0]), :] - vertices[..., end(m.ends[1]), :], axis=-1)
        for name, m in MEASUREMENTS.items()
    }
