"""The networks: backbones, point networks, the face model and SynergyNet."""

import os

import torch

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

# The threads of OpenMP do not exist in a forked process. torch would wait for them for ever.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: torch.set_num_threads(1))
