"""Dense mesh errors on AFLW2000-3D, against the BFM meshes that its parameters describe.

Dense NME: mean distance of all vertices after z-mean alignment over sqrt(w * h) of the landmarks' box (Feng et al.,
ECCV 2018). Reconstruction error: after similarity alignment, over the 3D outer eye distance. Both in 0-based pixels.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from bfm_assets.schema import MorphableModel
from eval import metrics
from eval.outcome import Table, percent, summary_by_yaw
from synergy.data.sample import FaceSample
from synergy.data.w300lp_format import project_vertices
from synergy.face import Face


class DenseErrors:
    """Collects the dense errors of faces whose meshes share the BFM's vertices, one at a time: meshes are not kept."""

    def __init__(self, model: MorphableModel) -> None:
        self.model = model
        self.nme: list[float] = []
        self.reconstruction: list[float] = []
        self.yaw: list[float] = []

    def update(self, sample: FaceSample, face: Face) -> None:
        """Add one sample with its fitted parameters, true pose and image, and the predicted face."""
        if sample.params is None or sample.pose_deg is None:
            raise ValueError(f"{sample.name}: no fitted parameters")
        true = project_vertices(sample.params, self.model, len(sample.image))
        predicted = face.vertices()
        points = true[self.model.landmarks][None]
        pair = predicted[None], true[None]
        self.nme.append(float(metrics.dense_nme(*pair, metrics.box_size(points))[0]))
        self.reconstruction.append(float(metrics.reconstruction_error(*pair, metrics.inter_ocular(points))[0]))
        self.yaw.append(float(sample.pose_deg[1]))

    def compute(self) -> dict[str, Any]:
        """`dense.nme`, `dense.reconstruction` in percent: samples' means, and by yaw."""
        figures: dict[str, Any] = {"counts": len(self.nme), "model": self.model.name}
        for key, errors in (("nme", self.nme), ("reconstruction", self.reconstruction)):
            figures[key] = metrics.mean_of(errors)
            figures[f"{key}_summary"] = summary_by_yaw(np.array(errors), np.array(self.yaw))
        return {"dense": figures}


def dense_table(results: dict[str, Any], model_id: str) -> Table:
    """The dense figures as a table."""
    dense = results["dense"]
    columns = ("method", "dense NME", "reconstruction")
    published = (("DSFNet (CVPR 2023)", "3.80", "-"), ("SADRNet (TIP 2021)", "4.02", "-"), ("3DDFA-V2", "4.18", "-"))
    own = (model_id, percent(dense["nme"]), percent(dense["reconstruction"]))
    return Table(f"Dense mesh of {dense['counts']} images (%)", columns, (*published, own), ours=(len(published),))
