"""CenterFace (Xu et al. 2020, arXiv 1911.03599), an anchor-free detector that finds profiles and small faces.

The network (`synergy.detect.networks`) answers on a grid of stride 4 with a heat map of face centres, the logarithm of
the box size and the offset of the centre.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from synergy.defaults import LEAST_MIN_FACE, THRESHOLD
from synergy.detect.base import Detection
from synergy.detect.networks import centerface_network
from synergy.errors import UserError

_STRIDE = 4
# Input sides are multiples of the network's deepest stride.
_MULTIPLE = 32

# Longer side of the smallest face, in input pixels, that is found in about nine of ten cases (docs/performance.md).
SMALLEST_FACE = 20
# By default the smallest face that is wanted has this many image pixels, and large images are shrunk to this longer
# side.
_MIN_FACE = 32
_MAX_SIDE = 960
# Smaller images are enlarged to this longer side, so that a tiny picture of a face works.
_MIN_SIDE = 320

# CenterFace places faces of 40 to 250 input pixels well. Above that its boxes shrink and parts of a face are reported
# as faces (docs/journal.md, "Close-ups"), so larger faces are searched for in a second, smaller version of the image.
_LARGE = 256
# The longer side of the second version, and its border in units of that side. The border gives a face that is cut off
# by the image's edge the surroundings that the network was trained with.
_COARSE_SIDE = 192
_COARSE_BORDER = 0.3
# Where the first search found faces, the second one reports only those whose longer side is more than this fraction of
# the large size.
_COARSE_MIN = 0.8
# Two boxes are the same face when their intersection covers this fraction of their union, or of the smaller box.
_UNION_OVERLAP = 0.3
_CONTAINED = 0.7

# Centre shift (x, y) and side of the landmarks' bounding square, in units of the detection's longer side: medians over
# 600 HELEN and AFW and 1,481 AFLW training faces of all yaws (standard deviations 0.040, 0.032, 0.067).
_TO_LANDMARKS = (0.0, 0.100, 0.843)


class CenterFace:
    """Find faces, from small ones to close-ups that fill the image.

    One instance may be called from several threads. Instances can be pickled.

    The time depends on the number of pixels that are searched. Images are scaled for this so that the smallest face
    that is wanted still has the 20 pixels that the network needs.

    Args:
        threshold: lowest score in 0..1 that counts as a face.
        min_face: longer side in image pixels of the smallest face that is wanted, at least 10. By default 32, or 1/48
            of the longer side of images of more than 1,536 pixels. Smaller faces are found less reliably.
        engine: what runs the network, a name of `synergy.detect.networks.DETECTOR_ENGINES`.
        threads: number of threads for one image (`synergy.detect.networks.centerface_network`).

    Raises:
        UserError: an engine that is unknown or not installed, or a `min_face` below 10.

    Example:
        >>> CenterFace()(np.zeros((100, 100, 3), np.uint8)).boxes.shape
        (0, 4)
    """

    def __init__(
        self,
        threshold: float = THRESHOLD,
        min_face: float | None = None,
        engine: str = "auto",
        threads: int | None = None,
    ) -> None:
        if min_face is not None and not min_face >= LEAST_MIN_FACE:
            raise UserError(f"the smallest face that can be found has {LEAST_MIN_FACE} pixels, got {min_face:g}")
        self.threshold = threshold
        self.min_face = min_face
        self.threads = threads
        self.network = centerface_network(engine, threads)

    def __reduce__(self) -> tuple[type[CenterFace], tuple[float, float | None, str, int | None]]:
        """Pickle the settings; the network is read again from its file."""
        return CenterFace, (self.threshold, self.min_face, self.network.name, self.threads)

    def __call__(self, image: NDArray[np.uint8]) -> Detection:
        """Find the faces of an image.

        The image is searched once at the scale that `min_face` needs. Where that finds a large face or none, a small
        version with a border is searched too, and decides about all large faces.

        Args:
            image: (H, W, 3) uint8 RGB.

        Returns:
            Boxes (K, 4) in image pixels, scores (K,) and points (K, 5, 2), best first. No box lies inside another.
        """
        per_pixel = self._scale(max(image.shape[:2]))
        found = self._search(image, per_pixel, border=0)
        is_large = _longer_side(found.boxes) * per_pixel > _LARGE
        if len(found.boxes) and not is_large.any():
            return _select(found, _suppress(found.boxes, found.scores))
        coarse = self._search(image, _COARSE_SIDE / max(image.shape[:2]), _COARSE_BORDER)
        if len(found.boxes):
            coarse = _select(coarse, _longer_side(coarse.boxes) * per_pixel > _COARSE_MIN * _LARGE)
        if len(coarse.boxes):
            found = _select(found, ~is_large)
        # Boxes of the small version come first, so that they suppress the parts of faces that the large one found.
        priority = np.concatenate([coarse.scores + 1, found.scores])
        both = Detection(*(np.concatenate(pair) for pair in zip(coarse, found, strict=True)))  # type: ignore[arg-type]
        both = _select(both, _suppress(both.boxes, priority))
        return _select(both, np.argsort(-both.scores, kind="stable"))

    def _scale(self, side: int) -> float:
        """Return the number of input pixels per image pixel for images with a longer side in pixels."""
        default = min(SMALLEST_FACE / _MIN_FACE, _MAX_SIDE / side)
        return max(default if self.min_face is None else SMALLEST_FACE / self.min_face, _MIN_SIDE / side)

    def _search(self, image: NDArray[np.uint8], scale: float, border: float) -> Detection:
        """Run the network once, without suppression.

        Args:
            image: (H, W, 3) uint8 RGB.
            scale: network input pixels per image pixel.
            border: width of a border that repeats the image's edge, in units of the input's longer side.

        Returns:
            Overlapping boxes (K, 4) in image pixels with scores (K,) and points (K, 5, 2), in no order.
        """
        height, width = image.shape[:2]
        size = max(1, round(width * scale)), max(1, round(height * scale))
        resized = cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
        pad = round(border * max(size))
        padded = cv2.copyMakeBorder(resized, pad, pad, pad, pad, cv2.BORDER_REPLICATE)
        fill = [-side % _MULTIPLE for side in padded.shape[:2]]
        padded = cv2.copyMakeBorder(padded, 0, fill[0], 0, fill[1], cv2.BORDER_CONSTANT)
        heat, log_size, offset, points = self.network(np.asarray(padded, np.uint8))
        rows, columns = np.nonzero(heat[0] > self.threshold)
        sides = np.exp(log_size[::-1, rows, columns]) * _STRIDE
        centres = (np.stack([columns, rows]) + offset[::-1, rows, columns] + 0.5) * _STRIDE - pad
        # From pixel edges of the resized image to pixel centres of the given one.
        corners = (
            np.stack([centres - sides / 2, centres + sides / 2]) / (np.array(size) / (width, height))[:, None] - 0.5
        )
        boxes = corners.reshape(4, -1).T.astype(np.float32)
        in_box = points[:, rows, columns].reshape(5, 2, -1)[:, ::-1].transpose(2, 0, 1)
        points5 = boxes[:, None, :2] + in_box * (boxes[:, 2:] - boxes[:, :2])[:, None]
        return Detection(boxes, heat[0, rows, columns], points5)

    def crop_box(self, boxes: NDArray[np.float32]) -> NDArray[np.float32]:
        """Map boxes (K, 4) of CenterFace to square boxes (K, 4) of the 68 landmarks, by a map fitted to real faces."""
        longer = _longer_side(boxes)[:, None]
        shift_x, shift_y, ratio = _TO_LANDMARKS
        centres = (boxes[:, :2] + boxes[:, 2:]) / 2 + longer * np.array([shift_x, shift_y])
        half = longer * ratio / 2
        return np.concatenate([centres - half, centres + half], 1).astype(np.float32)


def decoding_rules() -> dict[str, Any]:
    """Return the constants of the detector, for programs in other languages (`synergy.deploy.detector`)."""
    return {
        "stride": _STRIDE,
        "multiple": _MULTIPLE,
        "threshold": THRESHOLD,
        "smallest_face": SMALLEST_FACE,
        "min_face": _MIN_FACE,
        "max_side": _MAX_SIDE,
        "min_side": _MIN_SIDE,
        "large": _LARGE,
        "coarse": {"side": _COARSE_SIDE, "border": _COARSE_BORDER, "min": _COARSE_MIN},
        "suppress": {"union_overlap": _UNION_OVERLAP, "contained": _CONTAINED},
        "landmark_square": {"shift": list(_TO_LANDMARKS[:2]), "side": _TO_LANDMARKS[2]},
    }


def _longer_side(boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Longer sides (K,) of boxes (K, 4)."""
    return np.asarray((boxes[:, 2:] - boxes[:, :2]).max(1), np.float32)


def _select(detection: Detection, index: NDArray[np.generic]) -> Detection:
    """Take the rows of a detection that a mask or indices choose."""
    assert detection.points5 is not None
    return Detection(detection.boxes[index], detection.scores[index], detection.points5[index])


def _suppress(boxes: NDArray[np.float32], priority: NDArray[np.float32]) -> NDArray[np.int64]:
    """Choose one box per face.

    Going down by priority, a box suppresses every later one that overlaps it (intersection over union) or of which one
    contains the other (intersection over the smaller area).

    Args:
        boxes: (K, 4) x0, y0, x1, y1.
        priority: (K,) larger is kept first.

    Returns:
        Indices of the boxes that remain, by falling priority.
    """
    order = np.argsort(-priority, kind="stable")
    area = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    kept = []
    while len(order):
        best, order = order[0], order[1:]
        kept.append(best)
        low, high = np.maximum(boxes[order, :2], boxes[best, :2]), np.minimum(boxes[order, 2:], boxes[best, 2:])
        shared = (high - low).clip(0).prod(1)
        over_union = shared / (area[order] + area[best] - shared)
        over_smaller = shared / np.minimum(area[order], area[best])
        order = order[(over_union <= _UNION_OVERLAP) & (over_smaller <= _CONTAINED)]
    return np.array(kept, np.int64)
