"""True and predicted landmarks of some faces as JVCR's volumes, and the volumes of a network that predicts volumes."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from eval.report.charts import projections
from eval.result import ProtocolResult
from synergy import voxels

DRAWN_ABOVE = 0.3  # fainter voxels are left out of the interactive view
_DEPTH = max(voxels.DEPTHS)


@dataclass(frozen=True)
class VolumeFace:
    """The voxels of one face, for the interactive view.

    Attributes:
        label: rank and name of the face.
        true: base64 bytes of the true voxels; see `_encode_voxels`.
        predicted: the same of the predicted voxels.
    """

    label: str
    true: str
    predicted: str


@dataclass(frozen=True)
class VolumeViews:
    """Volumes of some faces.

    Attributes:
        projections: their projections as SVG.
        faces: their voxels.
        network: projections of the network's own volumes as SVG; empty if it has none.
    """

    projections: str
    faces: tuple[VolumeFace, ...]
    network: str = ""


# Label, true volume (D, H, W) and predicted volume (D, H, W) of a face.
VolumeRow = tuple[str, NDArray[np.floating], NDArray[np.floating]]


def volume_views(
    result: ProtocolResult, indices: Mapping[str, int], network_volumes: Sequence[VolumeRow] = ()
) -> VolumeViews:
    """Draw the landmarks of some samples as volumes.

    Args:
        result: with 3D points.
        indices: the index of each sample by its label.
        network_volumes: true and predicted volumes of the network's crops, for a network that predicts volumes.
    """
    chosen = list(indices.values())
    true, predicted = (torch.from_numpy(np.asarray(p)[chosen]) for p in (result.true, result.predicted))
    frame = voxels.volume_frame(true)
    pair = [voxels.encode(voxels.to_voxels(p, frame, _DEPTH), _DEPTH).numpy() for p in (true, predicted)]
    faces = tuple(
        VolumeFace(f"{label}: {result.samples[i].name}", _encode_voxels(t), _encode_voxels(p))
        for (label, i), t, p in zip(indices.items(), *pair, strict=True)
    )
    drawn = projections([(label, t, p) for label, t, p in zip(indices, *pair, strict=True)])
    return VolumeViews(drawn, faces, projections(network_volumes) if network_volumes else "")


def _encode_voxels(volume: NDArray[np.floating]) -> str:
    """Return the voxels of a volume (D, 64, 64) above the threshold as base64 bytes x, y, z, value * 255."""
    z, y, x = np.nonzero(volume > DRAWN_ABOVE)
    rows = np.stack([x, y, z, volume[z, y, x] * 255], -1).astype(np.uint8)
    return base64.b64encode(rows.tobytes()).decode()
