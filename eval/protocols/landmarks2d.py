"""300-W, AFLW and FaceSynthetics: hand-labelled or rendered 2D points, over the box and over the eyes.

- 300-W (Sagonas et al., 2013): 68 points and the inner 51, over the distance of the outer eye corners and over the box.
- AFLW: the visible ones of the 68 (MERL-RAV's label 2), over the face box that the crop states, by |yaw|.
- FaceSynthetics (Wood et al., ICCV 2021): 68 of its 70 points, scored as 300-W.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eval import metrics
from eval.outcome import BIN_COLUMNS, Outcome, Table, bin_row, percent, summary, summary_by_yaw
from eval.predictions import Predictions
from synergy.data.sample import OCCLUDED, VISIBLE, FaceSample
from synergy.errors import UserError
from synergy.landmarks import INNER51

_SUMMARY_COLUMNS = ("mean", "median", "AUC@7", "fail@7")
# More points than this covered by hair, hands or things make a covered face.
_COVERED = 8
_AFLW_ROWS = {
    "visible68": "visible of 68",
    "visible51": "of inner 51",
    "open51": f"<= {_COVERED} covered",
    "covered51": f"> {_COVERED} covered",
}


def score_300w(samples: Sequence[FaceSample], predictions: Predictions, title: str = "300-W") -> Outcome:
    """NME of all 68 and of the inner 51 points, each over the outer eye corners and over the box of the 68.

    Keys: `nme2d.inter_ocular.all68.mean`, `nme2d.box.inner51.auc7`, and so on.
    """
    true = _true(samples)
    predicted = predictions.landmarks68[..., :2].astype(np.float64)
    normalisers = {
        "inter_ocular": metrics.inter_ocular(true),
        "inter_pupil": metrics.inter_pupil(true),
        "box": metrics.box_size(true),
    }
    subsets = {"all68": np.arange(68), "inner51": INNER51}
    errors = {
        f"{name}.{subset}": metrics.nme(predicted[:, index], true[:, index], normaliser)
        for name, normaliser in normalisers.items()
        for subset, index in subsets.items()
    }
    nme2d: dict[str, Any] = {name: {} for name in normalisers}
    for key, value in errors.items():
        name, subset = key.split(".")
        nme2d[name][subset] = summary(value)
    rows = tuple(
        (*key.replace("_", "-").split("."), *map(percent, summary(value).values())) for key, value in errors.items()
    )
    return Outcome(
        title=title,
        results={"counts": {"samples": len(samples)}, "nme2d": nme2d},
        tables=[Table(f"{title}: 2D NME of {predictions.model_id} (%)", ("over", "points", *_SUMMARY_COLUMNS), rows)],
        samples=samples,
        predicted=predicted,
        true=true,
        errors=errors,
        point_errors=100 * metrics.point_distances(predicted, true) / normalisers["inter_ocular"][:, None],
    )


def has_68(sample: FaceSample) -> bool:
    """Whether AFLW's sample has labels of the 68 points at all."""
    return bool((sample.visibility68 == VISIBLE).any())


def score_aflw(samples: Sequence[FaceSample], predictions: Predictions) -> Outcome:
    """NME of the visible points, all 68 and the inner 51, over the side of the crop's face box, by |yaw|.

    Keys: `nme2d.visible68.mean`, `nme2d.visible51.bins`, and so on; `nme2d.open51` and `nme2d.covered51` are the
    inner 51 of the faces with at most, and with more than, 8 of the 68 covered by something, where there are any.
    """
    visible = np.stack([sample.visibility68 == VISIBLE for sample in samples])
    true = np.where(visible[..., None], _true(samples), np.nan)
    predicted = predictions.landmarks68[..., :2].astype(np.float64)
    if any(sample.box is None or sample.pose_deg is None for sample in samples):
        raise UserError("AFLW's protocol needs the face box and the yaw of each sample")
    side = np.array([sample.box[2] - sample.box[0] for sample in samples if sample.box is not None], np.float64)
    yaw = np.array([sample.pose_deg[1] for sample in samples if sample.pose_deg is not None])
    errors = {
        "visible68": metrics.nme(predicted, true, side),
        "visible51": metrics.nme(predicted[:, INNER51], true[:, INNER51], side),
    }
    covered = np.stack([(sample.visibility68 == OCCLUDED).sum() > _COVERED for sample in samples])
    groups = {"open51": ~covered, "covered51": covered}
    errors |= {key: np.where(mask, errors["visible51"], np.nan) for key, mask in groups.items() if mask.any()}
    nme2d = {key: summary_by_yaw(value, yaw) for key, value in errors.items()}
    rows = tuple(bin_row(_AFLW_ROWS[key], value) for key, value in nme2d.items())
    return Outcome(
        title="AFLW",
        results={"counts": {"samples": len(samples), "bins": nme2d["visible68"]["counts"]}, "nme2d": nme2d},
        tables=[Table(f"AFLW: 2D NME of {predictions.model_id} (%)", ("points", *BIN_COLUMNS), rows)],
        samples=samples,
        predicted=predicted,
        true=true,
        errors=errors,
        point_errors=100 * metrics.point_distances(predicted, true) / side[:, None],
        yaw_deg=yaw,
    )


def _true(samples: Sequence[FaceSample]) -> NDArray[np.float64]:
    return np.stack([sample.landmarks68[:, :2] for sample in samples]).astype(np.float64)
