"""Landmark networks by name: shapes, counts, engines, weights files and wrong options."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bfm_assets import MorphableModel, open_face
from synergy.crop import LANDMARK_MARGIN
from synergy.engines import make_engine
from synergy.errors import UserError
from synergy.models.cost import count_weights
from synergy.models.jvcr import CoordinateNet, StackedHourglass
from synergy.networks import NETWORKS, build_network
from synergy.predictor import FacePredictor
from synergy.registry import open_network
from synergy.voxels import VolumeFrame, append_centres, encode, from_voxels, to_voxels
from synergy.weights import load, save_weights

SMALL: dict[str, dict[str, Any]] = {
    "direct": {"width": 0.25, "size": 64},
    "jvcr": {"variant": "tiny"},
    "pfld": {"width": 0.25, "size": 64},
    "slpt": {"width": 0.25, "size": 64, "features": 16, "layers": 1},
}


@pytest.fixture(scope="module")
def model() -> MorphableModel:
    return open_face()


def test_every_network_is_tested() -> None:
    assert set(SMALL) == set(NETWORKS)


@pytest.mark.parametrize("name", NETWORKS)
def test_output_mirror_and_engines(model: MorphableModel, name: str) -> None:
    torch.manual_seed(0)
    net = build_network(name, model, **SMALL[name]).eval()
    images = torch.randint(0, 256, (3, 3, net.size, net.size), dtype=torch.uint8)
    with torch.no_grad():
        output = net(images)
    assert output.landmarks.shape == (3, 68, 3)
    assert output.params.isfinite().all()
    # An untrained network predicts faces near the mean face, in the middle of the crop.
    assert (output.landmarks - net.mean_landmarks).norm(dim=-1).mean() < 0.3 * net.size
    crops = np.ascontiguousarray(images.permute(0, 2, 3, 1).numpy())
    for engine in ("torch", "onnxruntime"):
        if engine == "onnxruntime":
            pytest.importorskip("onnxruntime")
        predicted = make_engine(engine, net)(crops)
        np.testing.assert_allclose(predicted.landmarks, output.landmarks.numpy(), atol=1e-2)


@pytest.mark.parametrize("name", NETWORKS)
def test_weights_files_are_opened_by_the_networks_name(model: MorphableModel, name: str, tmp_path: Path) -> None:
    net = build_network(name, model, **SMALL[name]).eval()
    path = tmp_path / "weights.safetensors"
    save_weights(net, path, {}, model)
    image = np.zeros((90, 120, 3), np.uint8)
    opened = open_network(f"{name}:{path}")
    assert opened.model_id == "weights"
    [face] = FacePredictor(opened, engine="torch")(image, boxes=[[30, 20, 80, 80]])
    [expected] = FacePredictor(net, engine="torch")(image, boxes=[[30, 20, 80, 80]])
    np.testing.assert_allclose(face.landmarks68, expected.landmarks68, atol=1e-3)
    assert face.vertices().shape == model.mean.shape
    other = next(other for other in NETWORKS if other != name)
    with pytest.raises(UserError, match=f"these are weights of the network '{name}'"):
        open_network(f"{other}:{path}")
    with pytest.raises(UserError, match="there is no file"):
        open_network(f"{name}:{tmp_path / 'none.safetensors'}")


def test_the_auxiliary_branch_is_not_stored(model: MorphableModel, tmp_path: Path) -> None:
    net = build_network("pfld", model, **SMALL["pfld"])
    save_weights(net, tmp_path / "pfld.safetensors", {}, model)
    stored = sum(tensor.numel() for tensor in load(tmp_path / "pfld.safetensors").parameters())
    assert stored == count_weights(net)
    from safetensors.torch import load_file

    assert not any(name.startswith("auxiliary") for name in load_file(tmp_path / "pfld.safetensors"))


def test_the_crop_of_the_predictor_has_the_networks_margin(model: MorphableModel) -> None:
    net = build_network("jvcr", model, variant="tiny").eval()
    assert net.margin == 1.25 < LANDMARK_MARGIN
    [face] = FacePredictor(net, engine="torch")(np.zeros((200, 200, 3), np.uint8), boxes=[[50, 50, 150, 150]])
    assert face.crop[0, 0] == pytest.approx(net.size / 125)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("resnet", {}, "unknown network 'resnet'; choose from direct, jvcr, pfld, slpt"),
        ("jvcr", {"variant": "huge"}, "network 'jvcr': unknown variant 'huge', choose from full, small, tiny"),
        ("pfld", {"widht": 1}, "network 'pfld': got an unexpected keyword argument 'widht'"),
        ("direct", {"backbone": "vgg"}, "network 'direct': unknown backbone 'vgg'"),
        ("direct", {"dims": 4}, "network 'direct': landmarks have 2 or 3 coordinates, not 4"),
    ],
)
def test_wrong_options_are_one_line(model: MorphableModel, name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        build_network(name, model, **options)


def test_jvcr_has_the_parameters_of_the_public_code() -> None:
    # Counted in models/hourglass.py and models/coordRegressor.py of HongwenZhang/JVCR-3Dlandmark, commit c7b028e.
    assert count_weights(StackedHourglass((1, 2, 4, 64), 256)) == 13_010_119
    assert count_weights(CoordinateNet(64, 71, 64)) == 19_460_629


def test_pfld_has_the_parameters_of_the_public_code(model: MorphableModel) -> None:
    # polarisZhao/PFLD-pytorch, commit b00750c, without the output layer: 1,230,112 and a BatchNorm of 128 channels that
    # it does not use; the auxiliary branch 463,811 with a BatchNorm (256) where ours has a bias (128).
    net = build_network("pfld", model, dims=2)
    auxiliary = count_weights(net.get_submodule("auxiliary"))
    assert count_weights(net) - auxiliary - count_weights(net.get_submodule("head")) == 1_230_112 - 2 * 128
    assert auxiliary == 463_811 - 128


def test_shapes_of_jvcr(model: MorphableModel) -> None:
    net = build_network("jvcr", model, variant="small").eval()
    with torch.no_grad():
        output = net.stages(torch.zeros(2, 3, 128, 128))
    assert output.volumes is not None
    assert [tuple(volume.shape) for volume in output.volumes] == [(2, depth, 32, 32) for depth in (1, 2, 4, 32)]
    assert output.points is not None
    assert output.points.shape == (2, 71, 3)


@pytest.mark.parametrize("resolution", [16, 32, 64])
def test_volumes_of_a_crop_give_their_points_back(model: MorphableModel, resolution: int) -> None:
    """Encode points as volumes of other sizes than the paper's; the voxels of value 1 are their points."""
    size = 4 * resolution
    frame = VolumeFrame(torch.full((1, 2), (size - 1) / 2), torch.tensor([float(size)]))
    landmarks = torch.rand(1, 68, 3, generator=torch.Generator().manual_seed(0)) * 0.8 * size + 0.1 * size
    landmarks[..., 2] -= landmarks[..., 2].mean()
    voxels = to_voxels(landmarks, frame, resolution, resolution)
    volume = encode(voxels, resolution, resolution)
    assert volume.shape == (1, resolution, resolution, resolution)
    z, y, x = (volume[0] == 1).nonzero().T
    peaks = from_voxels(torch.stack([x, y, z], -1)[None].float(), frame, resolution, resolution)
    points = append_centres(landmarks)
    nearest = torch.cdist(points, peaks).amin(-1)
    assert nearest.max() <= 2 * 3**0.5 + 1e-3  # half a voxel of 4 pixels along each axis
