"""What the foreign networks share: conventions and the models they accept."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from bfm_assets import ModelFileError, MorphableModel
from synergy.compat.network import CompatNet
from synergy.engines import CropModel
from synergy.mirror import MirrorCoefficients
from synergy.models.mobilenet import MobileNetV1
from synergy.parameters import Whitening, split_pose
from synergy.predictor import FacePredictor


def _network(model: MorphableModel, whitening: Whitening) -> CompatNet:
    torch.manual_seed(0)
    return CompatNet(MobileNetV1(0.25), model, whitening, "id").eval()


def test_the_predictor_runs_it(bfm: MorphableModel, whitening: Whitening) -> None:
    network = _network(bfm, whitening)
    predictor = FacePredictor(network)
    (face,) = predictor(np.zeros((200, 200, 3), np.uint8), boxes=[[50, 60, 150, 160]])
    assert face.landmarks68.shape == (68, 3)
    assert face.model_id == "id"
    assert face.params.shape == (62,)
    assert (face.morphable_model.n_shape, face.morphable_model.n_expression) == (40, 10)


def test_only_the_landmarks_of_a_dense_model_are_used(bfm: MorphableModel, whitening: Whitening, crops: Tensor) -> None:
    dense = replace(bfm, landmarks=bfm.landmarks[::-1].copy())
    with torch.no_grad():
        one, other = _network(bfm, whitening)(crops), _network(dense, whitening)(crops)
    torch.testing.assert_close(one.landmarks, other.landmarks.flip(1))
    assert torch.equal(one.params, other.params)


def test_bytes_and_floats_are_the_same_and_depth_is_centred(
    bfm: MorphableModel, whitening: Whitening, crops: Tensor
) -> None:
    network = _network(bfm, whitening)
    with torch.no_grad():
        one, other = network(crops), network(crops.float())
    assert torch.equal(one.landmarks, other.landmarks)
    assert one.landmarks[..., 2].mean(1).abs().max() < 1e-2


def test_a_model_with_too_few_modes_is_refused(bfm: MorphableModel, whitening: Whitening) -> None:
    with pytest.raises(ModelFileError, match="30 shape and 12 expression modes, 40 and 10 are needed"):
        _network(bfm.truncated(30, 12), whitening)


def test_the_mean_with_the_mirror_image_is_affine(bfm: MorphableModel, whitening: Whitening, crops: Tensor) -> None:
    network = _network(bfm, whitening)
    with torch.no_grad():
        params, mirrored = network(crops).params, network(crops.flip(-1)).params
        predicted = CropModel(network, mirror=True).predict(crops.permute(0, 2, 3, 1)).params
    mean = (params + MirrorCoefficients(network.morphable_model).mirror(mirrored, network.size)) / 2
    torch.testing.assert_close(predicted, mean, atol=1e-2, rtol=1e-3)


def test_the_mesh_passes_through_the_landmarks(bfm: MorphableModel, whitening: Whitening) -> None:
    """Also where the pose is far from a rotation, which both projects use as it is."""
    triangles = np.arange(66, dtype=np.int32).reshape(-1, 3)
    predictor = FacePredictor(_network(replace(bfm, triangles=triangles), whitening))
    image = np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8)
    (face,) = predictor(image, boxes=[[50, 60, 150, 160]])
    linear = split_pose(face.params)[0].reshape(3, 4)[:, :3]
    assert np.abs(linear @ linear.T - np.eye(3) * (linear**2).sum() / 3).max() > 0.1
    mesh = face.vertices()[face.morphable_model.landmarks]
    np.testing.assert_allclose(mesh, face.landmarks68, atol=1e-3, rtol=1e-5)
