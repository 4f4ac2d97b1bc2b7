"""The two parts of JVCR: stacked hourglasses (image to volumes) and the coordinate network (volume to coordinates)."""

from synergy.models.jvcr.coordinates import CoordinateNet
from synergy.models.jvcr.hourglass import StackedHourglass

__all__ = ["CoordinateNet", "StackedHourglass"]
