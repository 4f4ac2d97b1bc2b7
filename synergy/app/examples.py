"""Pictures to try the app with: a public-domain photo, and rendered faces."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

from synergy.app.files import encode_image
from synergy.appearance import random_colours, region_colours
from synergy.demo import random_face
from synergy.draw import draw_mesh

Image = NDArray[np.uint8]

# Pitch, yaw and roll in degrees of the rendered faces.
_POSES = {"frontal": (0, 10, 0), "profile": (0, -60, 0), "tilted": (15, 30, 20)}
_SIZE = 512
# Width of each person in the picture of several faces.
_STRIP = 320


@lru_cache(maxsize=1)
def examples() -> dict[str, Callable[[], bytes]]:
    """Return the examples: name to a function that returns the content of a JPEG or PNG file."""
    found: dict[str, Callable[[], bytes]] = {}
    try:
        # Eileen Collins, NASA, public domain; scikit-image's wheel carries it.
        photo = files("skimage") / "data" / "astronaut.png"
    except ModuleNotFoundError:
        pass
    else:
        found["photo"] = photo.read_bytes
    return found | {name: partial(_rendered, name) for name in _POSES} | {"several faces": _several}


def _rendered(name: str) -> bytes:
    return encode_image(_render(name))


def _several() -> bytes:
    strips = []
    for name in _POSES:
        # The middle of a head is where the picture differs from its background, which does not change along a row.
        picture = _render(name)
        columns = np.flatnonzero((picture != picture[:, :1]).any((0, 2)) | (picture != picture[:, -1:]).any((0, 2)))
        left = np.clip(int(columns.mean()) - _STRIP // 2, 0, _SIZE - _STRIP)
        strips.append(picture[:, left : left + _STRIP])
    return encode_image(np.concatenate(strips, 1))


@lru_cache(maxsize=len(_POSES))
def _render(name: str) -> Image:
    """Render a random person on a dark background."""
    seed = list(_POSES).index(name)
    face = random_face(_POSES[name], seed)
    model = face.morphable_model
    colours = region_colours(model, **random_colours(np.random.default_rng(seed)))
    ramp = np.linspace(90, 40, _SIZE)[:, None, None] * np.array([0.9, 1.0, 1.15])
    background = np.broadcast_to(ramp, (_SIZE, _SIZE, 3)).astype(np.uint8)
    # The face is placed in the middle of 256 pixels.
    return draw_mesh(background, face.vertices() * np.float32(_SIZE / 256), model.triangles, colours)
