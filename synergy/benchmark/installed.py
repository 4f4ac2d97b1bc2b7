"""Other projects' packages that users may have installed, as candidates to time: face-alignment and MediaPipe.

Neither is a dependency of this project. face-alignment (PyPI `face-alignment`, Bulat and Tzimiropoulos 2017,
arXiv 1703.07332) takes part wherever it is installed, with random weights, because the benchmark downloads nothing.
MediaPipe (PyPI `mediapipe`) takes part where the user names a model file, because its wheel contains none.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from synergy.benchmark.networks import Candidate
from synergy.benchmark.photo import make_photo
from synergy.benchmark.timing import Opener
from synergy.errors import UserError
from synergy.images import read_image

FACE_ALIGNMENT_2D = "face-alignment-2d"
FACE_ALIGNMENT_3D = "face-alignment-3d"
FACE_ALIGNMENT = (FACE_ALIGNMENT_2D, FACE_ALIGNMENT_3D)
MEDIAPIPE = "MediaPipe FaceLandmarker"

# What `face_alignment.FaceAlignment` uses: four stacked hourglasses, and crops of this side in pixels.
_HOURGLASSES = 4
_CROP_SIDE = 256
_N_LANDMARKS = 68


def face_alignment_candidates() -> list[Candidate]:
    """Return the networks of face-alignment in torch, at batch 1; an empty list where it is not installed.

    A call computes what `FaceAlignment.get_landmarks` computes in networks with its defaults: the heat maps of the
    crop and of the mirrored crop (`flip_input=True`), added, and in 3D the depths of the landmarks. Cropping, reading
    the landmarks off the heat maps and drawing the input of the depth network are left out. The networks are not
    compiled: face-alignment tries `torch.compile` by default, which takes long at first and needs a C++ compiler.
    """
    try:
        import face_alignment  # noqa: F401
    except ImportError:
        return []
    return [Candidate(name, "torch", partial(_open_face_alignment, name), largest_batch=1) for name in FACE_ALIGNMENT]


def _open_face_alignment(name: str, batch: int, threads: int) -> Callable[[], object]:
    """Build the networks of one of `FACE_ALIGNMENT`, and return the call to time."""
    from face_alignment.models import FAN, ResNetDepth
    from face_alignment.utils import flip

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    images = torch.rand(batch, 3, _CROP_SIDE, _CROP_SIDE)
    landmarks = FAN(_HOURGLASSES).eval()
    depth = ResNetDepth().eval() if name == FACE_ALIGNMENT_3D else None
    drawn = torch.zeros(batch, _N_LANDMARKS, _CROP_SIDE, _CROP_SIDE)

    @torch.inference_mode()
    def call() -> object:
        heat_maps = landmarks(images)[-1] + flip(landmarks(flip(images))[-1], is_label=True)
        return heat_maps if depth is None else (heat_maps, depth(torch.cat((images, drawn), 1)))

    return call


def mediapipe_opener(file: Path) -> Opener:
    """Return what opens MediaPipe's FaceLandmarker (one image, one face) for the benchmark's photo.

    The call finds the face and its 478 landmarks in the photo in memory. MediaPipe chooses the number of its threads.

    Args:
        file: its model, `face_landmarker.task`.

    Raises:
        UserError: MediaPipe is not installed, the file cannot be read or is not such a model, or no face was found.
    """
    try:
        import mediapipe
    except ImportError:
        raise UserError("--mediapipe: MediaPipe is not installed (pip install mediapipe)") from None
    try:
        model = file.read_bytes()
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror})") from None
    vision = mediapipe.tasks.vision
    photo = read_image(make_photo())

    def open_landmarker() -> Callable[[], object]:
        base = mediapipe.tasks.BaseOptions(model_asset_buffer=model)
        options = vision.FaceLandmarkerOptions(base_options=base, num_faces=1)
        landmarker = vision.FaceLandmarker.create_from_options(options)

        def call() -> object:
            image = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=photo)
            return landmarker.detect(image).face_landmarks

        weakref.finalize(call, landmarker.close)  # its threads end with the turn
        return call

    try:
        found = open_landmarker()()
    except (RuntimeError, ValueError, OSError) as error:
        reason = str(error).partition("\n")[0]
        raise UserError(f"{file}: MediaPipe cannot use it as a model of its FaceLandmarker ({reason})") from None
    if not found:
        raise UserError(f"{file}: MediaPipe finds no face in the benchmark's photo with this model")
    return open_landmarker
