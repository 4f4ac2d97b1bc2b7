"""The networks: backbones, point networks, the face model and SynergyNet."""

from synergy.models.face_model import LinearFaceModel
from synergy.models.mobilenet import MobileNetV1, MobileNetV2
from synergy.models.pointnet import MAFA, LandmarkTo3DMM
from synergy.models.synergynet import SynergyNet, SynergyOutput
from synergy.models.uncertainty import Uncertainty, UncertaintyHeads

__all__ = [
    "MAFA",
    "LandmarkTo3DMM",
    "LinearFaceModel",
    "MobileNetV1",
    "MobileNetV2",
    "SynergyNet",
    "SynergyOutput",
    "Uncertainty",
    "UncertaintyHeads",
]
