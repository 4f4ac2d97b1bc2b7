"""The pose of a head in plain words."""

from __future__ import annotations

import math

from synergy.face import Face

# Angles in degrees below the first limit are not mentioned, and below the second one they are "slightly".
_NOTHING, _SLIGHT = 5, 12


def describe_pose(face: Face) -> str:
    """Describe where a face looks and how the head is tilted, as seen by the viewer of the picture.

    Example:
        >>> from synergy.demo import random_face
        >>> describe_pose(random_face((8, 20, 0), seed=0))
        'Looks 20 degrees to your left, slightly up.'
        >>> describe_pose(random_face((0, 0, -30), seed=0))
        'Looks straight at the camera. The head is tilted 30 degrees counterclockwise.'
    """
    azimuth, elevation = face.direction
    # The direction of the top of the head in the image.
    right, up, _ = face.pose.matrix[:, 1].tolist()
    tilt = math.degrees(math.atan2(right, up))
    parts = [_part(azimuth, "to your left", "to your right"), _part(elevation, "up", "down")]
    direction = ", ".join(part for part in parts if part) or "straight at the camera"
    rotation = _part(tilt, "clockwise", "counterclockwise")
    return f"Looks {direction}." + (f" The head is tilted {rotation}." if rotation else "")


def _part(degrees: float, positive: str, negative: str) -> str:
    """Describe one angle; an empty text for a small one."""
    if abs(degrees) < _NOTHING:
        return ""
    amount = "slightly" if abs(degrees) < _SLIGHT else f"{abs(degrees):.0f} degrees"
    return f"{amount} {positive if degrees > 0 else negative}"
