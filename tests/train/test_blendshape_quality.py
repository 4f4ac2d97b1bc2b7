"""Comparison of predicted blendshape weights with true ones."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from bfm_assets import open_face
from synergy.cli import app
from synergy.errors import UserError
from synergy.models import SynergyNet
from synergy.predictor import FacePredictor
from train.blendshape_quality import compare_weights, measure_blendshapes
from train.packs.rendered import render_pack


def test_figures_of_known_weights() -> None:
    rng = np.random.default_rng(0)
    true = np.stack([rng.uniform(0, 1, 400), rng.uniform(0, 0.05, 400), rng.uniform(0, 1, 400)], 1)
    true[:100] = 0
    predicted = np.stack([0.5 * true[:, 0] + 0.1, np.full(400, 0.2), true[:, 2]], 1)
    gaze, open_jaw, smile = compare_weights(("jawOpen", "mouthSmileLeft", "eyeLookInLeft"), predicted, true)
    by_name = {shape.name: shape for shape in (gaze, open_jaw, smile)}
    jaw = by_name["jawOpen"]
    assert jaw.correlation == pytest.approx(1)
    assert jaw.error == pytest.approx(np.abs(0.1 - 0.5 * true[:, 0]).mean())
    assert jaw.neutral < 0.12  # the 100 neutral faces and those with small weights
    assert np.isnan(by_name["mouthSmileLeft"].correlation)
    assert by_name["mouthSmileLeft"].neutral == pytest.approx(0.2)
    assert smile.name == "mouthSmileLeft"


def test_command_on_rendered_faces(tmp_path: Path) -> None:
    pack = render_pack(tmp_path / "pack", open_face(), 12, 0, lambda *_: None)
    result = CliRunner().invoke(app, ["label", "quality", "blendshapes", str(pack)])
    assert result.exit_code == 0
    lines = [line for line in result.stdout.splitlines() if not line.startswith("Predicting")]
    assert len(lines) == 2 + open_face().n_expression + 1
    assert lines[-1].startswith("mean correlation of the first 20")


def test_a_network_with_other_crops_is_refused(tmp_path: Path, small_net: SynergyNet) -> None:
    pack = render_pack(tmp_path / "pack", open_face(), 1, 0, lambda *_: None)
    other = copy.copy(small_net)
    other.margin = 1.2
    with pytest.raises(UserError, match="or another margin"):
        measure_blendshapes(pack, FacePredictor(other), lambda *_: None)
