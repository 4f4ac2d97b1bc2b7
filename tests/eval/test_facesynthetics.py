"""FaceSynthetics end to end: rendered faces in its layout, training in 2D, and the challenge's table."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import lightning.pytorch as pl
import numpy as np
import pytest
from typer.testing import CliRunner

from bfm_assets import open_face
from synergy.cli import app
from synergy.weights import save_weights
from train.landmark_module import LandmarkModule
from train.readers import ReaderData
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


def test_training_and_the_table_of_the_challenge(folder: Path, tmp_path: Path) -> None:
    data = ReaderData("facesynthetics", folder, batch_size=4, validation_fraction=0.2)
    module = LandmarkModule("direct", {"width": 0.25, "size": 64, "dims": 2}, {"smooth_l1": 1.0})
    trainer = pl.Trainer(
        accelerator="cpu", max_steps=2, max_epochs=-1, default_root_dir=tmp_path, logger=False,
        enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False, num_sanity_val_steps=0,
        use_distributed_sampler=False,
    )  # fmt: skip
    trainer.fit(module, data)
    assert float(trainer.logged_metrics["facesynthetics/nme_all"]) > 0
    weights, scores = tmp_path / "net.safetensors", tmp_path / "scores.json"
    save_weights(module.net, weights, {}, open_face())
    command = ["eval", "facesynthetics", "--data", str(folder), "--model", f"direct:{weights}", "--json", str(scores)]
    result = CliRunner().invoke(app, command, catch_exceptions=False)
    found = json.loads(scores.read_text())
    nme, cost = found["nme2d"], found["cost"]
    # The landmarks' box is the crop's side / sqrt(2), and the image is the crop.
    assert 0 < nme["image"]["all68"]["mean"] < nme["box"]["all68"]["mean"] < nme["inter_ocular"]["all68"]["mean"]
    assert cost["megabytes"] == pytest.approx(4 * cost["parameters"])
    assert cost["macs"] > 0
    assert "M MACs" in result.output
