"""What runs a network on crops: torch on any device, or onnxruntime on the CPU."""

from synergy.engines.base import ENGINES, Engine, Network, make_engine
from synergy.engines.crop_model import CropModel, CropPredictions, join_predictions

__all__ = [
    "ENGINES",
    "CropModel",
    "CropPredictions",
    "Engine",
    "Network",
    "join_predictions",
    "make_engine",
]
