"""The JSON file next to an exported model: what a program in C++ or JavaScript needs to use it.

Next to it lies `STEM.bases.bin`, the morphable model as numbers that every language can read.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

import synergy
from bfm_assets import MorphableModel
from synergy.deploy.exported import FORMAT, VERSION, description_path
from synergy.engines import CropModel
from synergy.engines.onnx_graph import INPUT
from synergy.landmarks import CONTOURS, FLIP68
from synergy.models.landmark_net import LandmarkNet
from synergy.parameters import N_POSE

_OUTPUTS = {
    "landmarks": "x, y, z in crop pixels: x right, y down, pixel centres at integers; z in the same scale, larger is "
    "nearer to the camera, mean 0 over the points",
    "params": "parameters of the mesh that follows the landmarks, see 'parameters'",
    "landmark_std": "standard deviation of x, and of y, of each landmark in crop pixels",
    "rotation_covariance": "covariance of the rotation's error in radians squared, as a rotation vector in the "
    "camera's frame (x right, y up, z towards the camera)",
    "confidence": "probability in 0..1 that the crop shows a face",
}

_PARAMETERS = (
    "12 numbers of pose, then shape coefficients, then expression coefficients, not whitened. The pose is the 3x4 "
    "matrix [s R | t], row-major: s is pixels per unit of the morphable model, R a rotation, t pixels. A vertex in "
    "model space (x right, y up, z towards the camera) is mean + shape basis * shape + expression basis * expression. "
    "V = s R vertex + t has y up; in the crop x = V_x, y = size - V_y, z = V_z minus the mean of V_z over the 68 "
    "landmark vertices."
)
_ANGLES = (
    "R = Rx(pitch) Ry(yaw) Rz(roll), so yaw = asin(-R[0][2]), pitch = atan2(R[1][2], R[2][2]), roll = atan2(R[0][1], "
    "R[0][0]). Positive yaw turns the nose to the image's left, positive pitch looks up, positive roll lowers the eye "
    "on the image's right."
)
_CROP = (
    "A square with the centre of the box of the 68 landmarks (brows to chin) and a side of 'margin' times the longer "
    "side of the box. Image point (x, y) lies at crop point ((x - centre_x) * scale + (size - 1) / 2, the same for y) "
    "with scale = size / side and pixel centres at integers. Interpolation is bilinear; pixels outside the image are "
    "0; if the image is reduced 2-fold or more, blocks of floor(1 / scale) pixels are averaged first. Landmarks in the "
    "image are the inverse of this map; z is divided by scale."
)


def write_description(path: Path, model: CropModel, precision: str, facts: dict[str, Any]) -> None:
    """Write the description and the bases of an exported model.

    Args:
        path: the file of the model, which exists. The description of `face.onnx` is `face.onnx.json`, and the bases are
            `face.bases.bin`.
        model: the model that was exported.
        precision: "fp32" or "int8".
        facts: measurements and anything else about this export.
    """
    net, bases = model.net, path.with_suffix(".bases.bin")
    arrays = _write_bases(bases, net.morphable_model)
    description = {
        "format": FORMAT,
        "version": VERSION,
        "name": net.model_id,
        "file": path.name,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "precision": precision,
        "made_by": f"synergy {synergy.__version__}",
        "input": {
            "name": INPUT,
            "shape": ["batch", model.size, model.size, 3],
            "dtype": "uint8",
            "content": "crops, RGB, rows from top to bottom. The graph does all further pre-processing.",
        },
        "outputs": [
            {"name": name, "shape": ["batch", *model.shapes[name]], "dtype": "float32", "content": _OUTPUTS[name]}
            for name in model.outputs
        ],
        "crop": {"size": model.size, "margin": net.margin, "rule": _CROP},
        "parameters": {
            "layout": _PARAMETERS,
            "n_pose": N_POSE,
            "n_shape": net.morphable_model.n_shape,
            "n_expression": net.morphable_model.n_expression,
            "expression_names": list(net.morphable_model.expression_names),
            "angles": _ANGLES,
            "whitening": _whitening(net),
        },
        "landmarks": {
            "order": "iBUG 300-W, 68 points",
            "mirrored": FLIP68.tolist(),
            "contours": {
                name: [*range(first, end), *([first] if is_closed else [])]
                for name, (first, end, is_closed) in CONTOURS.items()
            },
        },
        "morphable_model": {
            "name": net.morphable_model.name,
            "digest": net.morphable_model.digest,
            "licence": net.morphable_model.licence,
            "file": bases.name,
            "byte_order": "little endian, row-major",
            "arrays": arrays,
        },
        **facts,
    }
    description_path(path).write_text(json.dumps(description, indent=1) + "\n")


def _whitening(net: Any) -> dict[str, Any] | None:
    """Return the whitening of a network's parameters; None for a landmark network, which has none."""
    if isinstance(net, LandmarkNet):
        return None
    note = "of the training; the graph undoes it"
    return {"note": note, "mean": net.param_mean.tolist(), "std": net.param_std.tolist()}


def _write_bases(path: Path, model: MorphableModel) -> dict[str, Any]:
    """Write the arrays of a morphable model one after another; return type, shape and byte offset of each."""
    arrays = {
        "mean": model.mean.astype("<f4"),
        "basis": model.basis.astype("<f4"),
        "triangles": model.triangles.astype("<i4"),
        "landmarks": model.landmarks.astype("<i4"),
    }
    table, offset = {}, 0
    with open(path, "wb") as file:
        for name, array in arrays.items():
            dtype = "float32" if array.dtype == np.dtype("<f4") else "int32"
            table[name] = {"dtype": dtype, "shape": list(array.shape), "offset": offset}
            offset += file.write(array.tobytes())
    return table
