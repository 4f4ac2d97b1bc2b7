"""Face detectors and their common interface."""

from synergy.detect.base import Detection, Detector
from synergy.detect.centerface import CenterFace

__all__ = ["CenterFace", "Detection", "Detector"]
