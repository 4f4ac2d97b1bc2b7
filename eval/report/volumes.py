"""True and predicted landmarks of some faces as JVCR's volumes: projections, and points for the turnable view."""

from __future__ import annotations

import base64
import html

import numpy as np
import torch
from numpy.typing import NDArray

from eval import voxels
from eval.outcome import Outcome
from eval.report.figures import projections

DRAWN_ABOVE = 0.3  # voxels fainter than this are left out of the turnable view
_DEPTH = max(voxels.DEPTHS)


def volume_section(outcome: Outcome, picks: dict[str, int]) -> str:
    """Projections and the turnable view, as HTML, of the samples `picks` names (label to index)."""
    indices = list(picks.values())
    true, predicted = (torch.from_numpy(np.asarray(p)[indices]) for p in (outcome.true, outcome.predicted))
    frame = voxels.frame_of(true)
    pair = [voxels.encode(voxels.to_voxels(p, frame, _DEPTH), _DEPTH).numpy() for p in (true, predicted)]
    names = [f"{label}: {outcome.samples[i].name}" for label, i in picks.items()]
    picture = projections([(label, t, p) for label, t, p in zip(picks, *pair, strict=True)])
    options = "".join(f'<option value="{n}">{html.escape(name)}</option>' for n, name in enumerate(names))
    clouds = "".join(
        f'<script type="text/plain" class="cloud" data-true="{_cloud(t)}" data-predicted="{_cloud(p)}"></script>'
        for t, p in zip(*pair, strict=True)
    )
    return (
        f'<div class="chart wide">{picture}</div>'
        '<div class="volume"><div class="controls"><label>Face <select id="volume-face">'
        f"{options}</select></label><span>drag to turn, scroll to zoom</span></div>"
        f'<canvas id="volume" width="1200" height="760" aria-label="true and predicted voxels"></canvas>{clouds}</div>'
    )


def _cloud(volume: NDArray[np.floating]) -> str:
    """The voxels of (D, 64, 64) above the threshold as base64 bytes x, y, z, value * 255."""
    z, y, x = np.nonzero(volume > DRAWN_ABOVE)
    rows = np.stack([x, y, z, volume[z, y, x] * 255], -1).astype(np.uint8)
    return base64.b64encode(rows.tobytes()).decode()
