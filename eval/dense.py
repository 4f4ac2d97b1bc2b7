"""Dense mesh errors on AFLW2000-3D, against the Basel Face Model meshes that its parameters describe.

Dense NME is the mean distance of all vertices after alignment of the mean depth, over sqrt(w * h) of the landmarks' box
(Feng et al., ECCV 2018). The reconstruction error is the same distance after similarity alignment, over the 3D distance
of the outer eye corners. Both meshes are in 0-based pixels.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from bfm_assets.schema import MorphableModel
from eval import metrics
from eval.baselines import AFLW2000_DENSE, Baseline
from eval.result import ProtocolResult, comparison_table, summarize_by_yaw
from synergy.data.sample import FaceSample
from synergy.data.w300lp_format import project_vertices, require_3ddfa_modes
from synergy.errors import UserError
from synergy.face import Face

ERRORS = ("nme", "reconstruction")


def dense_errors(sample: FaceSample, face: Face, model: MorphableModel) -> tuple[float, float]:
    """Compute the dense NME and the reconstruction error of one face in percent.

    Args:
        sample: with image and fitted parameters.
        face: the prediction, whose mesh has the vertices of `model`.
        model: Basel Face Model with 3DDFA's modes, which the sample's parameters describe.

    Raises:
        ValueError: the sample has no fitted parameters.
    """
    if sample.params is None:
        raise ValueError(f"{sample.name}: no fitted parameters")
    true = project_vertices(sample.params, model, len(sample.image))
    meshes, landmarks = (face.vertices()[None], true[None]), true[model.landmarks][None]
    nme = metrics.dense_nme(*meshes, metrics.box_size(landmarks))
    reconstruction = metrics.reconstruction_error(*meshes, metrics.inter_ocular(landmarks))
    return float(nme[0]), float(reconstruction[0])


def add_dense_scores(
    result: ProtocolResult, errors: NDArray[np.floating], model: MorphableModel, model_id: str
) -> ProtocolResult:
    """Add dense scores and their table to the result of AFLW2000-3D's protocol.

    Args:
        result: with the true yaw of its N samples.
        errors: (N, 2) in percent, from `dense_errors`.
        model: the Basel Face Model.
        model_id: name of the evaluated predictor.
    """
    assert result.yaw_deg is not None
    dense: dict[str, object] = {"counts": len(errors), "model": model.name}
    means = tuple(metrics.mean_of(column) for column in errors.T)
    for key, mean, column in zip(ERRORS, means, errors.T, strict=True):
        dense |= {key: mean, f"{key}_summary": summarize_by_yaw(column, result.yaw_deg)}
    table = comparison_table(
        f"Dense mesh of {len(errors)} images (%)",
        ("dense NME", "reconstruction"),
        AFLW2000_DENSE,
        [Baseline(model_id, means)],
    )
    return replace(result, scores={**result.scores, "dense": dense}, tables=[*result.tables, table])


def require_same_mesh(bfm: MorphableModel, predicted: MorphableModel) -> None:
    """Check that a network predicts the mesh that the parameters of AFLW2000-3D describe.

    Args:
        bfm: the Basel Face Model of the true meshes.
        predicted: the morphable model of the network.

    Raises:
        UserError: the meshes have other vertices, or the Basel Face Model has other modes than 3DDFA's or landmark
            vertices only.
    """
    require_3ddfa_modes(bfm)
    if not bfm.is_dense:
        raise UserError(f"'{bfm.name}' has landmark vertices only: dense errors need a BFM with its mesh")
    if bfm.n_vertices != predicted.n_vertices:
        raise UserError(
            f"dense errors need weights that predict BFM meshes: these predict '{predicted.name}' with "
            f"{predicted.n_vertices} vertices, '{bfm.name}' has {bfm.n_vertices}; leave out --bfm"
        )
