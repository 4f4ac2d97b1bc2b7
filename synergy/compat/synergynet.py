"""SynergyNet's public checkpoint, `best.pth.tar` (Wu, Xu, Neumann, 3DV 2021).

The released MAFA differs from the paper and from `synergy.models.pointnet`: it ends in BatchNorm and ReLU, so that its
residuals cannot be negative. The released inference code does not run it. `refine=True` does.
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
# Largest difference between two copies of the same basis, as a fraction of its largest entry. Copies differ by rounding
# only. Different modes differ by about the entry itself.
_MODE_TOLERANCE = 1e-3


class PublicMAFA(nn.Module):
    """MAFA as released (`MLP_for`): the 2418 features of each point are concatenated; no residual is negative."""

    def __init__(self) -> None:
        super().__init__()
        n_in = N_POINT_FEATURES + N_GLOBAL_FEATURES + _N_IMAGE + N_COEFFICIENTS
        self.encoder = PointEncoder()
        self.decoder = nn.Sequential(
            PointLayer(n_in, 512), PointLayer(512, 256), PointLayer(256, 128), PointLayer(128, 3)
        )

    def forward(self, points: Tensor, image_feature: Tensor, coefficients: Tensor) -> Tensor:
        """Refine landmarks.

        Args:
            points: coarse landmarks (B, 68, 3) in crop pixels that count from 1.
            image_feature: (B, 1280) of the backbone.
            coefficients: whitened shape and expression coefficients (B, 50).

        Returns:
            Refined landmarks (B, 68, 3) in crop pixels that count from 1.
        """
        point_features, global_feature = self.encoder(points)
        face = torch.cat([global_feature, image_feature, coefficients], -1)
        joined = torch.cat([point_features, face.unsqueeze(1).expand(-1, points.shape[1], -1)], -1)
        residual: Tensor = self.decoder(joined)
        return points + RESIDUAL_SCALE * residual


def load_synergynet(
    path: str | Path,
    model: MorphableModel,
    whitening: Whitening[NDArray[np.float32]] | None = None,
    refine: bool = False,
) -> CompatNet:
    """Load SynergyNet's MobileNetV2.

    Args:
        path: `best.pth.tar`.
        model: `3dmm_data`, another BFM with 3DDFA's modes, or the 68-point basis.
        whitening: the content of `param_whitening.pkl`. By default it is taken from the checkpoint.
        refine: refine the landmarks with MAFA. The released code and its reported numbers do without it.

    Returns:
        The network in evaluation mode on the CPU.

    Raises:
        UserError: not such a checkpoint, or a model with other modes.
    """
    state = read_state(path)
    if f"{_BACKBONE}.features.0.0.weight" not in state:
        raise UserError(f"{path}: not a SynergyNet MobileNetV2 checkpoint, it has no '{_BACKBONE}.features.0.0.weight'")
    _check_modes(state, model, path)
    whitening = whitening or _whitening_in(state, path)
    model_id = "synergynet-public-refined" if refine else "synergynet-public"
    network = CompatNet(MobileNetV2(), model, whitening, model_id, PublicMAFA() if refine else None)
    backbone = [f"backbone.{name}" for name in conv_layers(network.backbone)]
    renamed = rename_layers(state, _backbone_layers(), backbone) | join_layers(state, _HEADS, "head")
    if network.mafa is not None:
        renamed |= rename_layers(state, _mafa_layers(), [f"mafa.{name}" for name in conv_layers(network.mafa)])
    load_strictly(network, renamed, path)
    return network.eval()


def _whitening_in(state: State, path: str | Path) -> Whitening[NDArray[np.float32]]:
    """Return the whitening that the checkpoint contains."""
    if "param_mean" not in state or "param_std" not in state:
        raise UserError(f"{path}: the checkpoint has no whitening; give it to `load_synergynet` as `whitening`")
    mean, std = (state[key].float().flatten()[:N_PARAMS].numpy() for key in ("param_mean", "param_std"))
    return Whitening(mean, std)


def _check_modes(state: State, model: MorphableModel, path: str | Path) -> None:
    """Compare the landmark basis in the checkpoint, if there is one, with that of the model.

    A basis with other modes would have the same size but would give wrong faces.

    Raises:
        UserError: they differ.
    """
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
    """Return the released names of MobileNetV2's convolutions and BatchNorms, in their order."""
    blocks = [f"{_BACKBONE}.features.{i}.conv" for i in range(1, 18)]
    expanding = [f"{block}.{layer}" for block in blocks[1:] for layer in ("0.0", "0.1", "1.0", "1.1", "2", "3")]
    first = [f"{blocks[0]}.{layer}" for layer in ("0.0", "0.1", "1", "2")]
    stem, last = ([f"{_BACKBONE}.features.{i}.{layer}" for layer in (0, 1)] for i in (0, 18))
    return [*stem, *first, *expanding, *last]


def _mafa_layers() -> list[str]:
    """Return the released names of MAFA's convolutions and BatchNorms, in their order."""
    return [f"forwardDirection.{kind}{i}" for i in range(1, 10) for kind in ("conv", "bn")]
