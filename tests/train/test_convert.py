"""A network with another morphable model predicts what it predicted before."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from bfm_assets import MorphableModel, open_face, read_bfm68
from synergy.cli import app
from synergy.models import SynergyNet
from synergy.parameters import split_parameters, split_pose
from synergy.weights import load, save_weights
from train.convert import _crops as read_crops
from train.convert import convert, fit_parameter_map


@torch.no_grad()
def _net(model: MorphableModel, crops: np.ndarray) -> SynergyNet:
    """A network with random heads, whose faces lie in the crop and differ from crop to crop."""
    torch.manual_seed(0)
    net = SynergyNet(model, width=0.25)
    scale = 45 / float(np.ptp(model.mean[model.landmarks][:, 0]) / 2)
    mean, std = torch.zeros_like(net.param_mean), torch.full_like(net.param_std, 0.005 * scale)
    mean[[0, 5, 10]] = scale
    mean[[3, 7]] = 60.0
    std[[3, 7, 11]] = 2.0
    std[12:] = torch.from_numpy(model.coefficient_std) * 0.5
    net.set_whitening(mean, std)
    images = torch.from_numpy(crops).permute(0, 3, 1, 2)
    for module in net.backbone.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None  # the statistics are those of the next batch
    net.train().features(images)
    feature = net.eval().features(images)
    for head in (net.pose_head, net.shape_head, net.expression_head):
        weight = torch.randn(head.weight.shape) / (len(feature[0]) ** 0.5 * feature.std(0).clamp_min(1e-6))
        head.weight.copy_(weight)
        head.bias.copy_(-weight @ feature.mean(0))
    return net


def _crops(count: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    low = rng.integers(0, 256, (count, 6, 6, 3), dtype=np.uint8)
    return np.repeat(np.repeat(low, 20, 1), 20, 2)


@pytest.fixture(scope="module")
def renamed() -> MorphableModel:
    """The open face's landmarks in other units, from another origin, in other modes, without expression names."""
    model = open_face().landmark_model().truncated(20, 51)
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(20, 20)))[0].astype(np.float32)
    return MorphableModel(
        name="renamed",
        licence="MIT",
        mean=(model.mean + [0, 5, -9]).astype(np.float32) * 1000,
        shape_basis=np.ascontiguousarray(model.shape_basis @ turn) * 1000,
        shape_std=np.ones(20, np.float32),
        expression_basis=model.expression_basis * 1000,
        expression_std=np.full(51, 0.1, np.float32),
        triangles=model.triangles,
        landmarks=model.landmarks,
        mm_per_unit=1e-3,
    )


def test_a_model_of_the_same_faces_is_met(renamed: MorphableModel) -> None:
    rng = np.random.default_rng(0)
    shape, weight = rng.normal(size=(600, 20)), np.where(rng.uniform(size=(600, 51)) < 0.1, 0.5, 0)
    mapping = fit_parameter_map(renamed, open_face(), np.concatenate([shape, weight], 1))
    assert mapping.residual < 0.3
    assert mapping.below_zero < 0.01
    neutral = mapping(np.zeros(12 + 71))[12 + open_face().n_shape :]
    assert np.abs(neutral).max() < 0.1


def test_pose_and_landmarks_stay(renamed: MorphableModel) -> None:
    crops = _crops(160)
    old = _net(renamed, crops)
    new, mapping = convert(old, open_face(), crops)
    images = torch.from_numpy(crops).permute(0, 3, 1, 2)
    with torch.no_grad():
        before, after = old(images), new(images)
    rotation = [torch.nn.functional.normalize(split_pose(o.params)[0][:, :3], dim=1) for o in (before, after)]
    torch.testing.assert_close(rotation[0], rotation[1], atol=1e-5, rtol=0)
    assert before.coarse.std(0).mean() > 1  # the faces differ
    assert (before.coarse - after.coarse).norm(dim=-1).mean() < 1.2 * mapping.residual < 0.6
    assert (before.landmarks - after.landmarks).norm(dim=-1).mean() < 1.2 * mapping.residual
    assert split_parameters(after.params, new.n_shape)[2].shape[1] == 51


def test_from_bfm(shared_data: Path) -> None:
    bfm = read_bfm68(shared_data / "bfm68_basis.npz")
    with np.load(shared_data / "bfm68_basis.npz") as file:
        mean, std = file["param_mean62"][12:], file["param_std62"][12:]
    coefficients = np.random.default_rng(0).normal(size=(500, 50)) * std + mean
    mapping = fit_parameter_map(bfm, open_face(), coefficients)
    assert mapping.residual < 0.9
    assert mapping.below_zero < 0.02


def test_the_command_converts_a_weights_file(renamed: MorphableModel, tmp_path: Path, pts_folder) -> None:
    folder, _landmarks = pts_folder()
    model, old, new = tmp_path / "renamed.npz", tmp_path / "old.safetensors", tmp_path / "new.safetensors"
    renamed.save(model)
    save_weights(_net(renamed, _crops(8)), old, {"training": {"steps": 3}, "validation": {"nme": 1.0}}, renamed)
    command = ["train", "convert", str(old), "--bfm", str(model), "--data", str(folder), "--out", str(new)]
    result = CliRunner().invoke(app, command, catch_exceptions=False)
    assert f"written: {new}" in result.stdout
    assert load(new).morphable_model is open_face()
    facts = json.loads(new.with_suffix(".json").read_text())
    assert facts["converted"]["crops"] == 6
    assert facts["training"] == {"steps": 3}
    assert "validation" not in facts


def test_crops_are_spread_over_the_whole_data_set(pts_folder) -> None:
    folder, _ = pts_folder()
    every = read_crops(folder, open_face(), 6)
    assert len(every) == 6
    np.testing.assert_array_equal(read_crops(folder, open_face(), 4), every[::2])
