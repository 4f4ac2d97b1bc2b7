"""Tracking of faces through the frames of a video: stable ids, and smooth pose, expression and landmarks."""

from synergy.tracking.one_euro import OneEuro, RotationOneEuro
from synergy.tracking.video_predictor import VideoPredictor

__all__ = ["OneEuro", "RotationOneEuro", "VideoPredictor"]
