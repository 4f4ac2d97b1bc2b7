"""Make the picture at the top of the README: `python docs/scripts/overview.py`.

It shows the public-domain photo of the demo in the styles of `synergy predict --format`, and rendered people of the
open face. Nothing else is in it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from synergy import FacePredictor
from synergy.demo import demo_photo, portrait, rendered_picture
from synergy.draw import draw_picture, overlay
from synergy.images import write_image

Image = NDArray[np.uint8]

_PICTURE = Path(__file__).parents[1] / "pictures" / "overview.jpg"
_STYLES = ("overlay", "wireframe", "mesh", "normals", "depth", "pose")
# Pitch, yaw and roll in degrees, and the seed, of the rendered people.
_PEOPLE = (
    ((0, 30, 0), 1),
    ((0, -60, 0), 2),
    ((20, 15, 10), 3),
    ((-20, -30, -15), 4),
    ((0, 10, 120), 5),
    ((5, -20, 5), 8),
)
_TILE = 240
_GAP = 6
_BACK = 255


def main() -> None:
    """Write the picture."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--out", type=Path, default=_PICTURE, help="file to write")
    write_image(parser.parse_args().out, make_picture())


def make_picture() -> Image:
    """Return the picture as (H, W, 3) uint8 RGB: one row of the photo, and one of rendered people."""
    predictor = FacePredictor()
    photo = demo_photo()
    large, faces = portrait(photo, predictor(photo))
    # The head alone: the rest of the photo says nothing about a style.
    head = slice(50, 550), slice(130, 630)
    first = [_tile(draw_picture(large, faces, name)[head]) for name in _STYLES]
    people = [_enlarge(rendered_picture(angles, seed)) for angles, seed in _PEOPLE]
    second = [_tile(overlay(picture, predictor(picture))) for picture in people]
    return _row([_row(first, 1), _row(second, 1)], 0)


def _enlarge(picture: Image) -> Image:
    """Return a picture of twice the size, so that lines are drawn finely."""
    return np.asarray(cv2.resize(picture, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC), np.uint8)


def _tile(picture: Image) -> Image:
    """Return a square picture in the size of a tile."""
    return np.asarray(cv2.resize(picture, (_TILE, _TILE), interpolation=cv2.INTER_AREA), np.uint8)


def _row(pictures: list[Image], axis: int) -> Image:
    """Put pictures next to each other (axis 1) or below each other (axis 0), with gaps between them."""
    shape = list(pictures[0].shape)
    shape[axis] = _GAP
    gap = np.full(shape, _BACK, np.uint8)
    parts = [part for picture in pictures for part in (picture, gap)]
    return np.concatenate(parts[:-1], axis)


if __name__ == "__main__":
    main()
