"""Render a pack of random faces with exact labels from a dense morphable model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

import synergy
from bfm_assets import MorphableModel
from synergy.data.annotated_crops import ATTRIBUTES
from train.blendshape_scores import NAMES
from train.packs.pack import CROP_SIZE, PackWriter, Row, describe_contents
from train.synthetic import SyntheticFace, render_face, require_mesh

SOURCE = "synthetic"

# Faces per part of the pack: an interrupted run repeats at most one part.
_PART = 256


def render_pack(
    out: str | Path, model: MorphableModel, faces: int, seed: int, progress: Callable[[int, int], object]
) -> Path:
    """Write a pack of random faces. Its `annotated68` are the true points; all faces are for training.

    Args:
        out: directory of the pack.
        model: a morphable model with a mesh.
        faces: number of faces.
        seed: face i of a seed is always the same.
        progress: called with the number of faces that are done and that there are.

    Returns:
        The directory.

    Raises:
        UserError: the model has no mesh, or the directory holds another pack.
    """
    require_mesh(model)
    writer = PackWriter(out, {"model": model.digest, "faces": faces, "seed": seed, "version": synergy.__version__})
    for part, start in enumerate(range(0, faces, _PART)):
        stop = min(start + _PART, faces)
        if not writer.has(part):
            rendered = [render_face(model, np.random.default_rng([seed, i]), CROP_SIZE) for i in range(start, stop)]
            writer.write(part, [make_row(face, f"{seed}-{i}") for i, face in enumerate(rendered, start)])
        progress(stop, faces)
    manifest = {
        "sources": {SOURCE: {"path": "", "licence": model.licence, "digest": f"{model.digest}-{seed}"}},
        **describe_contents(model),
        "statistics": {},
    }
    return writer.finish(manifest).path


def make_row(face: SyntheticFace, name: str) -> Row:
    """Return the row of a rendered face in a pack. It is for training."""
    return {
        "image": face.image,
        "names": name,
        "sources": SOURCE,
        "split": "train",
        "landmarks68": face.landmarks68,
        "visibility68": face.visibility68,
        "params": face.params,
        "pose_deg": face.pose_deg,
        "weight": 1.0,
        "residual": 0.0,
        "annotated68": face.landmarks68[:, :2],
        "annotated21": np.full((21, 2), np.nan),
        "teacher68": np.full((68, 3), np.nan),
        "identity": -1,
        "attributes": np.full(len(ATTRIBUTES), -1),
        "blendshapes": np.full(len(NAMES), np.nan),
        "crop": np.full(3, np.nan),
    }
