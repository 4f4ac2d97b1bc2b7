"""Synergy: 68 three-dimensional face landmarks, head pose and a face mesh from one image.

    import synergy
    faces = synergy.FacePredictor()("photo.jpg")    # a path, a PIL image or an array (H, W, 3) uint8 RGB
    faces[0].landmarks68, faces[0].pose.yaw, faces[0].vertices(), faces[0].blendshapes
    faces[faces.score > 0.5].save("faces.json")

Names load on first use, so that `import synergy` stays light.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

# pip checks the version too, but code that was not installed by pip can be imported.
if sys.version_info < (3, 11):  # noqa: UP036
    raise ImportError("synergy needs Python 3.11 or newer, this is %d.%d" % sys.version_info[:2])  # noqa: UP031

if TYPE_CHECKING:
    from synergy.errors import UserError
    from synergy.face import Face, Pose
    from synergy.faces import Faces
    from synergy.predictor import FacePredictor
    from synergy.tracking import VideoPredictor
    from synergy.weights import load

__version__ = "1.0.0"

_HOME = {
    "Face": "synergy.face",
    "Faces": "synergy.faces",
    "FacePredictor": "synergy.predictor",
    "Pose": "synergy.face",
    "UserError": "synergy.errors",
    "VideoPredictor": "synergy.tracking",
    "load": "synergy.weights",
}
__all__ = ["Face", "FacePredictor", "Faces", "Pose", "UserError", "VideoPredictor", "load"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'synergy' has no attribute '{name}'")
    try:
        return getattr(import_module(_HOME[name]), name)
    except ImportError as error:
        from synergy.extras import explain_opencv

        if (explanation := explain_opencv(error)) is None:
            raise
        raise ImportError(explanation, name=error.name, path=error.path) from error


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
