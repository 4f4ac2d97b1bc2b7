"""SynergyNet's public checkpoint, `best.pth.tar` (Wu, Xu, Neumann, 3DV 2021).

The point networks are the released ones, which differ from the paper (and from `synergy.models.pointnet`) in ending in
BatchNorm and ReLU: their residuals and whitened parameters cannot be negative. The released inference never runs
either of them; `refine=True` runs MAFA.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bfm_assets import MorphableModel
from synergy.compat.checkpoint import State, conv_layers, join_layers, load_strictly, read_state, rename_layers
from synergy.compat.network import CompatNet
from synergy.compat.whitening import N_COEFFICIENTS, N_PARAMS
from synergy.errors import UserError
from synergy.models.mobilenet import MobileNetV2
from synergy.models.pointnet import N_GLOBAL_FEATURES, N_POINT_FEATURES, RESIDUAL_SCALE, PointEncoder, PointLayer
from synergy.parameters import Whitening

_BACKBONE = "I2P.backbone"
_HEADS = tuple(f"{_BACKBONE}.classifier_{name}.1" for name in ("ori", "shape", "exp"))
_N_IMAGE = 1280
# Copies of BFM's basis differ by rounding, as a share of the largest entry; other modes differ by all of it.
_MODE_TOLERANCE = 1e-3


class PublicMAFA(nn.Module):
    """MAFA as released (`MLP_for`): 2418 numbers concatenated at every point, no negative residual."""

    def __init__(self) -> None:
        super().__init__()
        n_in = N_POINT_FEATURES + N_GLOBAL_FEATURES + _N_IMAGE + N_COEFFICIENTS
        self.encoder = PointEncoder()
        self.decoder = nn.Sequential(
            PointLayer(n_in, 512), PointLayer(512, 256), PointLayer(256, 128), PointLayer(128, 3)
        )

    def forward(self, points: Tensor, image_feature: Tensor, coefficients: Tensor) -> Tensor:
        """Refined landmarks (B, 68, 3) of coarse ones in 1-based pixels, features (B, 1280), coefficients (B, 50)."""
        point, whole = self.encoder(points)
        face = torch.cat([whole, image_feature, coefficients], -1)
        joined = torch.cat([point, face.unsqueeze(1).expand(-1, points.shape[1], -1)], -1)
        residual: Tensor = self.decoder(joined)
        return points + RESIDUAL_SCALE * residual


class PublicLandmarkTo3DMM(nn.Module):
    """Landmark-to-3DMM as released (`MLP_rev`): 1-based landmarks (B, 68, 3) to whitened parameters (B, 62) >= 0."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = PointEncoder()
        self.head = PointLayer(N_GLOBAL_FEATURES, N_PARAMS)

    def forward(self, points: Tensor) -> Tensor:
        _point, whole = self.encoder(points)
        params: Tensor = self.head(whole.unsqueeze(1))
        return params.squeeze(1)


def load_synergynet(
    path: str | Path,
    model: MorphableModel,
    whitening: Whitening[NDArray[np.float32]] | None = None,
    refine: bool = False,
) -> CompatNet:
    """SynergyNet's MobileNetV2, in evaluation mode.

    Args:
        path: `best.pth.tar`.
        model: `3dmm_data`, another BFM with 3DDFA's modes, or the 68-point basis.
        whitening: of `param_whitening.pkl`; None takes the one that the checkpoint carries.
        refine: whether MAFA refines the landmarks. The released code does not, and its reported numbers are without.
    """
    state = read_state(path)
    if f"{_BACKBONE}.features.0.0.weight" not in state:
        raise UserError(f"{path}: not a SynergyNet MobileNetV2 checkpoint, it has no '{_BACKBONE}.features.0.0.weight'")
    _check_modes(state, model, path)
    whitening = whitening or _carried_whitening(state, path)
    model_id = "synergynet-public-refined" if refine else "synergynet-public"
    network = CompatNet(MobileNetV2(), model, whitening, model_id, PublicMAFA() if refine else None)
    backbone = [f"backbone.{name}" for name in conv_layers(network.backbone)]
    renamed = rename_layers(state, _backbone_layers(), backbone) | join_layers(state, _HEADS, "head")
    if network.mafa is not None:
        renamed |= rename_layers(state, point_layers(9), [f"mafa.{name}" for name in conv_layers(network.mafa)])
    load_strictly(network, renamed, path)
    return network.eval()


def load_landmark_to_3dmm(path: str | Path) -> PublicLandmarkTo3DMM:
    """The released landmark-to-3DMM branch of a SynergyNet checkpoint, in evaluation mode."""
    state, network = read_state(path), PublicLandmarkTo3DMM()
    encoder = [f"encoder.{name}" for name in conv_layers(network.encoder)]
    renamed = rename_layers(state, point_layers(5, "reverseDirection"), encoder)
    for kind, ours in (("conv", "head.0"), ("bn", "head.2")):
        renamed |= join_layers(state, [f"reverseDirection.{kind}6_{i}" for i in (1, 2, 3)], ours)
    load_strictly(network, renamed, path)
    return network.eval()


def _carried_whitening(state: State, path: str | Path) -> Whitening[NDArray[np.float32]]:
    if "param_mean" not in state or "param_std" not in state:
        raise UserError(f"{path}: the checkpoint carries no whitening, give SynergyNet's param_whitening.pkl")
    mean, std = (state[key].float().flatten()[:N_PARAMS].numpy() for key in ("param_mean", "param_std"))
    return Whitening(mean, std)


def _check_modes(state: State, model: MorphableModel, path: str | Path) -> None:
    """`UserError` when the checkpoint carries its landmark basis and `model` has another: same counts, wrong faces."""
    points = model.landmark_model()
    ours = {"u_base": points.mean, "w_shp_base": points.shape_basis, "w_exp_base": points.expression_basis}
    for key, array in ours.items():
        if key not in state or not state[key].dim():
            continue
        theirs = state[key].float()
        own = torch.from_numpy(array).reshape(3 * len(points.mean), -1)[:, : theirs.shape[-1]]
        if own.shape != theirs.shape or (own - theirs).abs().max() > _MODE_TOLERANCE * theirs.abs().max():
            raise UserError(f"{path}: trained with other modes than those of '{model.name}' ({key} differs)")


def _backbone_layers() -> list[str]:
    """The public names of MobileNetV2's convolutions and BatchNorms, in order."""
    blocks = [f"{_BACKBONE}.features.{i}.conv" for i in range(1, 18)]
    expanding = [f"{block}.{layer}" for block in blocks[1:] for layer in ("0.0", "0.1", "1.0", "1.1", "2", "3")]
    first = [f"{blocks[0]}.{layer}" for layer in ("0.0", "0.1", "1", "2")]
    stem, last = ([f"{_BACKBONE}.features.{i}.{layer}" for layer in (0, 1)] for i in (0, 18))
    return [*stem, *first, *expanding, *last]


def point_layers(count: int, network: str = "forwardDirection") -> list[str]:
    """The public names of a point network's first `count` convolutions, each with its BatchNorm."""
    return [f"{network}.{kind}{i}" for i in range(1, count + 1) for kind in ("conv", "bn")]
