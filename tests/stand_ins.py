"""Stand-ins for packages that the benchmark measures where they are installed: they have its calls, and do no work."""

from types import ModuleType, SimpleNamespace

import torch
from torch import nn


def face_alignment_modules(inputs=None):
    """Modules with the parts of face-alignment that are used, by name.

    Args:
        inputs: a list that receives the name and the input of every network that is called.
    """
    inputs = [] if inputs is None else inputs

    class FAN(nn.Module):
        def __init__(self, hourglasses):
            super().__init__()
            self.hourglasses = hourglasses

        def forward(self, images):
            inputs.append(("FAN", images))
            return [torch.zeros(1)] * (self.hourglasses - 1) + [images[:, :1, ::4, ::4].repeat(1, 68, 1, 1)]

    class ResNetDepth(nn.Module):
        def forward(self, images):
            inputs.append(("ResNetDepth", images))
            return torch.zeros(len(images), 68)

    modules = {name: ModuleType(name) for name in ("face_alignment", "face_alignment.models", "face_alignment.utils")}
    modules["face_alignment.models"].FAN = FAN
    modules["face_alignment.models"].ResNetDepth = ResNetDepth
    modules["face_alignment.utils"].flip = lambda tensor, is_label=False: tensor.flip(-1)
    return modules


def mediapipe_module(events=None, faces=1, error=None):
    """A module with the parts of MediaPipe that are used.

    Args:
        events: a list that receives "open", "detect" and "close".
        faces: number of faces that it finds.
        error: what opening a model raises.
    """
    events = [] if events is None else events

    class FaceLandmarker:
        @staticmethod
        def create_from_options(options):
            if error is not None:
                raise error
            assert isinstance(options.base_options.model_asset_buffer, bytes)
            events.append("open")
            return FaceLandmarker()

        def detect(self, image):
            assert image.data.shape == (480, 640, 3)
            events.append("detect")
            return SimpleNamespace(face_landmarks=[[None] * 478] * faces)

        def close(self):
            events.append("close")

    module = ModuleType("mediapipe")
    module.Image = SimpleNamespace
    module.ImageFormat = SimpleNamespace(SRGB=1)
    vision = SimpleNamespace(FaceLandmarker=FaceLandmarker, FaceLandmarkerOptions=SimpleNamespace)
    module.tasks = SimpleNamespace(BaseOptions=SimpleNamespace, vision=vision)
    return module
