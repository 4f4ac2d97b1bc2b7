"""2D landmark protocols of 300-W, AFLW and FaceSynthetics.

- 300-W (Sagonas et al., 2013): 68 points and the inner 51, over the distance of the outer eye corners, over the
  distance of the eye centres and over the box.
- AFLW: the visible ones of the 68 points (MERL-RAV's label 2), over the face box of the crop, by |yaw|.
- FaceSynthetics (Wood et al., ICCV 2021): 68 of its 70 points, scored as 300-W and over the size of the image.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from eval import metrics
from eval.predictions import Predictions
from eval.result import YAW_COLUMNS, ProtocolResult, Table, format_value, summarize, summarize_by_yaw, yaw_row
from synergy.data.sample import OCCLUDED, VISIBLE, FaceSample
from synergy.landmarks import INNER51

_SUMMARY_COLUMNS = ("mean", "median", "AUC@7", "fail@7")
# A face with more occluded points than this (by hair, hands or objects) belongs to the group "covered51".
_MAX_OCCLUDED = 8
_AFLW_ROWS = {
    "visible68": "visible of 68",
    "visible51": "visible of inner 51",
    "open51": f"inner 51, <= {_MAX_OCCLUDED} occluded",
    "covered51": f"inner 51, > {_MAX_OCCLUDED} occluded",
}


def score_300w(samples: Sequence[FaceSample], predictions: Predictions, title: str = "300-W") -> ProtocolResult:
    """Score the NME of all 68 and of the inner 51 points.

    Each is divided by the distance of the outer eye corners (`inter_ocular`), by the distance of the eye centres
    (`inter_pupil`) and by the size of the box around all 68 points (`box`). If all samples know the size of their
    image, each is also divided by sqrt(width * height) of the image (`image`).

    Args:
        samples: with 68 known points and a distance of the eyes (`eval.protocols.usable.has_eyes`).
        predictions: in the order of the samples.
        title: name of the data set.

    Returns:
        Its scores have keys such as `nme2d.inter_ocular.all68.mean` and `nme2d.box.inner51.auc7`.
    """
    true = _true_points(samples)
    predicted = predictions.landmarks68[..., :2].astype(np.float64)
    normalisers = {
        "inter_ocular": metrics.inter_ocular(true),
        "inter_pupil": metrics.inter_pupil(true),
        "box": metrics.box_size(true),
    }
    sizes = [sample.image_size for sample in samples if sample.image_size is not None]
    if len(sizes) == len(samples):
        normalisers["image"] = np.sqrt(np.prod(np.array(sizes, np.float64), -1))
    subsets = {"all68": np.arange(68), "inner51": INNER51}
    errors = {
        f"{name}.{subset}": metrics.nme(predicted[:, index], true[:, index], normaliser)
        for name, normaliser in normalisers.items()
        for subset, index in subsets.items()
    }
    summaries = {key: summarize(value) for key, value in errors.items()}
    nme2d = {name: {subset: summaries[f"{name}.{subset}"] for subset in subsets} for name in normalisers}
    rows = tuple(
        (*key.replace("_", "-").split("."), *map(format_value, summary.values())) for key, summary in summaries.items()
    )
    return ProtocolResult(
        title=title,
        scores={"counts": {"samples": len(samples)}, "nme2d": nme2d},
        tables=[Table(f"{title}: 2D NME of {predictions.model_id} (%)", ("over", "points", *_SUMMARY_COLUMNS), rows)],
        samples=samples,
        predicted=predicted,
        true=true,
        errors=errors,
        point_errors=100 * metrics.point_distances(predicted, true) / normalisers["inter_ocular"][:, None],
    )


def score_aflw(samples: Sequence[FaceSample], predictions: Predictions) -> ProtocolResult:
    """Score the NME of the visible points over the side of the crop's face box, by |yaw|.

    Args:
        samples: with box and yaw. At least one has a visible point (`eval.protocols.usable.has_68`).
        predictions: in the order of the samples.

    Returns:
        Its scores have keys such as `nme2d.visible68.mean` and `nme2d.visible51.bins`. `nme2d.open51` and
        `nme2d.covered51` are of the inner 51 points of faces with at most 8, and with more than 8, occluded points of
        the 68. A group without visible points is left out.
    """
    visible = np.stack([sample.visibility68 == VISIBLE for sample in samples])
    true = np.where(visible[..., None], _true_points(samples), np.nan)
    predicted = predictions.landmarks68[..., :2].astype(np.float64)
    side = np.array([sample.box[2] - sample.box[0] for sample in samples if sample.box is not None], np.float64)
    yaw = np.array([sample.pose_deg[1] for sample in samples if sample.pose_deg is not None])
    inner = metrics.nme(predicted[:, INNER51], true[:, INNER51], side)
    is_covered = np.stack([(sample.visibility68 == OCCLUDED).sum() > _MAX_OCCLUDED for sample in samples])
    groups = {
        "visible68": metrics.nme(predicted, true, side),
        "visible51": inner,
        "open51": np.where(is_covered, np.nan, inner),
        "covered51": np.where(is_covered, inner, np.nan),
    }
    errors = {key: group for key, group in groups.items() if np.isfinite(group).any()}
    nme2d = {key: summarize_by_yaw(value, yaw) for key, value in errors.items()}
    rows = tuple(yaw_row(_AFLW_ROWS[key], value) for key, value in nme2d.items())
    return ProtocolResult(
        title="AFLW",
        scores={"counts": {"samples": len(samples), "bins": nme2d["visible68"]["counts"]}, "nme2d": nme2d},
        tables=[Table(f"AFLW: 2D NME of {predictions.model_id} (%)", ("points", *YAW_COLUMNS), rows)],
        samples=samples,
        predicted=predicted,
        true=true,
        errors=errors,
        point_errors=100 * metrics.point_distances(predicted, true) / side[:, None],
        yaw_deg=yaw,
    )


def _true_points(samples: Sequence[FaceSample]) -> NDArray[np.float64]:
    return np.stack([sample.landmarks68[:, :2] for sample in samples]).astype(np.float64)
