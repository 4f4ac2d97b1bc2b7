"""Face detectors behind one small protocol."""

from synergy.detect.base import Detection, Detector
from synergy.detect.centerface import CenterFace

__all__ = ["CenterFace", "Detection", "Detector"]
