"""Synergy: 68 three-dimensional face landmarks, head pose and a face mesh from one image.

    import synergy
    faces = synergy.FacePredictor()(image)          # HxWx3 uint8 RGB in, a list of Face out
    faces[0].landmarks68, faces[0].pose.yaw, faces[0].vertices()

Names load on first use, so that `import synergy` stays light.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from synergy.errors import UserError
    from synergy.face import Face, Pose
    from synergy.predictor import FacePredictor
    from synergy.weights import load

__version__ = "0.1.0"

_HOME = {
    "Face": "synergy.face",
    "FacePredictor": "synergy.predictor",
    "Pose": "synergy.face",
    "UserError": "synergy.errors",
    "load": "synergy.weights",
}
__all__ = ["Face", "FacePredictor", "Pose", "UserError", "load"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'synergy' has no attribute '{name}'")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
