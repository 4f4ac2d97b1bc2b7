"""Pictures to try the app with: a public-domain photo, and rendered faces."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import cache, partial
from typing import NamedTuple

from synergy.app.files import encode_image
from synergy.demo.rendered import animated_face, backdrop, demo_photo, paint_face
from synergy.errors import UserError

_WIDTH, _HEIGHT = 400, 512
# Height of the landmarks of a rendered face in pixels.
_FACE_HEIGHT = 205


class _Person(NamedTuple):
    """A rendered person: pitch, yaw and roll in degrees, expression, and x of the face's centre in pixels."""

    angles: tuple[float, float, float]
    expression: dict[str, float]
    x: float


_PEOPLE = {
    "frontal": _Person((0, 10, 0), {"mouthSmileLeft": 0.6, "mouthSmileRight": 0.6}, 195),
    "profile": _Person((0, -60, 0), {}, 265),
    "tilted": _Person((15, 30, 20), {"jawOpen": 0.3, "browInnerUp": 0.5}, 140),
}


@cache
def examples() -> dict[str, Callable[[], bytes]]:
    """Return the examples: name to a function that returns the content of a JPEG file."""
    found: dict[str, Callable[[], bytes]] = {name: partial(_picture, (name,)) for name in _PEOPLE}
    found["several faces"] = partial(_picture, tuple(_PEOPLE))
    # The photo comes with an optional package.
    with suppress(UserError):
        found = {"photo": partial(encode_image, demo_photo()), **found}
    return found


@cache
def _picture(names: tuple[str, ...]) -> bytes:
    """Render people next to each other on a dark background, as JPEG."""
    image = backdrop(_HEIGHT, _WIDTH * len(names), 90, 40)
    for i, name in enumerate(names):
        person, seed = _PEOPLE[name], list(_PEOPLE).index(name)
        centre = (person.x + i * _WIDTH, 0.5 * _HEIGHT)
        face = animated_face(seed, person.expression, person.angles, centre, _FACE_HEIGHT)
        image = paint_face(image, face, seed)
    return encode_image(image)
