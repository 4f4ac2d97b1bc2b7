"""FaceSynthetics end to end: rendered faces in its layout, training in 2D, and the challenge's table."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from bfm_assets import open_face
from synergy.cli import app
from train.synthetic import render_face


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten rendered faces as ID.png, ID_seg.png and ID_ldmks.txt with 70 points."""
    path, model = tmp_path_factory.mktemp("facesynthetics"), open_face()
    for i in range(10):
        face = render_face(model, np.random.default_rng(i), side=120)
        cv2.imwrite(str(path / f"{i:06}.png"), face.image[..., ::-1])
        cv2.imwrite(str(path / f"{i:06}_seg.png"), face.image[..., 0])
        pupils = [face.landmarks68[36:42].mean(0), face.landmarks68[42:48].mean(0)]
        np.savetxt(path / f"{i:06}_ldmks.txt", np.concatenate([face.landmarks68, pupils])[:, :2], fmt="%.3f")
    return path


def run(*arguments: object) -> str:
    """Run a command of `synergy` and return what it prints."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_training_export_and_the_table_of_the_challenge(folder: Path, tmp_path: Path) -> None:
    weights, scores = tmp_path / "net.safetensors", tmp_path / "scores.json"
    run(
        "train", "fit", "--config", "facesynthetics", "--data.path", folder, "--trainer.default_root_dir", tmp_path,
        "--model.options", "{width: 0.25, size: 64, dims: 2}", "--data.batch_size", 4, "--trainer.max_steps", 2,
        "--data.validation_fraction", 0.2, "--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false",
    )  # fmt: skip
    run("train", "export", tmp_path / "checkpoints" / "last.ckpt", "--out", weights)
    facts = json.loads(weights.with_suffix(".json").read_text())
    assert facts["training"]["steps"] == 2
    assert "validation" not in facts
    table = run("eval", "facesynthetics", "--data", folder, "--model", f"direct:{weights}", "--json", scores)
    found = json.loads(scores.read_text())
    nme, cost = found["nme2d"], found["cost"]
    # The landmarks' box is the crop's side / sqrt(2), and the image is the crop.
    assert 0 < nme["image"]["all68"]["mean"] < nme["box"]["all68"]["mean"] < nme["inter_ocular"]["all68"]["mean"]
    assert cost["megabytes"] == pytest.approx(4 * cost["parameters"])
    assert cost["macs"] > 0
    # The output is no terminal: headings are not cut.
    assert "M weights" in table
    assert "M MACs" in table
