"""Initialisation of a network from a trained one: a copy, or a network with another model or a wider backbone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bfm_assets import MorphableModel
from synergy.checkpoints import read_checkpoint
from synergy.errors import UserError
from synergy.models import MobileNetV1, SynergyNet
from synergy.weights import decides_predictions, read_weights
from train.prune import can_prune, prune_backbone
from train.regression import ridge_regression

_ARCHITECTURE = ("backbone", "width", "mafa_width")


@dataclass(frozen=True)
class TrainedNetwork:
    """A trained network from a file.

    Attributes:
        architecture: arguments of `SynergyNet`.
        state: its state. A weights file has only what prediction needs.
        model_digest: digest of its morphable model; empty if an older checkpoint does not state it.
        path: the file.
    """

    architecture: dict[str, Any]
    state: dict[str, Tensor]
    model_digest: str
    path: str

    @classmethod
    def read(cls, path: str | Path) -> TrainedNetwork:
        """Read a checkpoint of a training run, or a weights file (`.safetensors`).

        Raises:
            UserError: it cannot be read, or it is neither of the two.
        """
        if Path(path).suffix == ".safetensors":
            if not Path(path).is_file():
                raise UserError(f"{path}: no such file")
            facts, state = read_weights(Path(path))
            architecture, digest = facts["architecture"], facts["morphable_model"]["digest"]
        else:
            content = read_checkpoint(path)
            architecture, state = checkpoint_architecture(content), net_state(content, path)
            digest = content.get("morphable_model", "")
        if "network" in architecture:
            raise UserError(f"{path}: a landmark network '{architecture['network']}', where a SynergyNet is needed")
        return cls(architecture, state, digest, str(path))

    def copy_to(self, net: SynergyNet) -> bool:
        """Copy the whole state, whitening included, to a network of the same architecture and morphable model.

        Uncertainty heads are not copied. The landmark-to-3DMM network stays as it is if the file does not have it.

        Returns:
            Whether architecture and morphable model are the same. Otherwise nothing is copied.

        Raises:
            UserError: the file lacks weights that predictions need, or has others.
        """
        same = all(self.architecture.get(name) == net.architecture[name] for name in _ARCHITECTURE)
        if not same or self.model_digest != net.morphable_model.digest:
            return False
        self._load_into(net)
        return True

    def with_uncertainty(self, model: MorphableModel) -> SynergyNet:
        """Return a copy of the network with uncertainty heads. They are untrained, unless the network has some.

        Args:
            model: the network's morphable model.

        Raises:
            UserError: the network has another morphable model.
        """
        require_same_model(self.path, self.model_digest, model)
        net = SynergyNet(model, **{**self.architecture, "uncertainty": True})
        try:
            self._load_into(net)
        except RuntimeError as error:
            reason = str(error).splitlines()[-1].strip()
            raise UserError(f"{self.path}: does not fit the morphable model '{model.name}' ({reason})") from None
        return net

    def _load_into(self, net: SynergyNet) -> None:
        """Copy the state. Only one of the two networks may have uncertainty heads.

        Raises:
            UserError: another weight that predictions need is missing, or unknown.
        """
        result = net.load_state_dict(self.state, strict=False)
        missing = [name for name in result.missing_keys if decides_predictions(name)]
        if wrong := [name for name in (*missing, *result.unexpected_keys) if not name.startswith("uncertainty.")]:
            raise UserError(f"{self.path}: does not fit its architecture ({wrong[0]})")


def require_same_model(path: str | Path, digest: str, model: MorphableModel) -> None:
    """Check that a trained network belongs to a morphable model.

    Args:
        path: file of the network, or the option that names it, for the error message.
        digest: digest of the network's morphable model; empty if the file does not state it.
        model: the morphable model.

    Raises:
        UserError: it belongs to another one.
    """
    if digest and digest != model.digest:
        raise UserError(f"{path}: does not fit the morphable model '{model.name}', it was trained with another one")


def checkpoint_architecture(checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    """Return the architecture (`synergy.weights.build`) of the network of a training run's checkpoint."""
    options = checkpoint.get("hyper_parameters", {})
    found = {name: options[name] for name in _ARCHITECTURE if name in options}
    return dict(checkpoint.get("architecture", found))


def net_state(checkpoint: Mapping[str, Any], source: str | Path) -> dict[str, Tensor]:
    """Return the state of the network in a checkpoint: the averaged weights if the run had the callback `EMA`.

    Args:
        checkpoint: content of the file.
        source: path of the file, for the error message.

    Raises:
        UserError: it is not a checkpoint of a training run.
    """
    prefix, state = "net.", checkpoint.get("state_dict", {})
    found = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    if not found:
        raise UserError(f"{source}: not a checkpoint of `synergy train`, it has no weights named '{prefix}...'")
    return found


@torch.no_grad()
def transplant(net: SynergyNet, state: dict[str, Tensor]) -> bool:
    """Copy the parts of another network's state that have the same name and shape, except its whitening.

    The most important channels of a wider MobileNetV1 are copied (`train.prune`). In MAFA's first layer the weights of
    shape and expression coefficients become zero, because the coefficients of another morphable model have another
    meaning. Its weights of the image feature are copied only if the feature is that of the other network, whole or
    pruned. A MAFA of another width is left as it is.

    Args:
        net: the network to initialise, in place.
        state: state of a `SynergyNet`.

    Returns:
        Whether the backbone was pruned. Its batch normalisation then needs `train.prune.reestimate_batch_norm`.
    """
    own = net.state_dict()
    for name, value in state.items():
        if name in own and own[name].shape == value.shape and not name.startswith("param_"):
            own[name].copy_(value)
    wide = {name.removeprefix("backbone."): value for name, value in state.items() if name.startswith("backbone.")}
    features, pruned = torch.arange(net.backbone.n_features), False
    if isinstance(net.backbone, MobileNetV1) and can_prune(wide, net.backbone):
        features, pruned = prune_backbone(wide, net.backbone), True
    is_same = all(name in wide and wide[name].shape == own.shape for name, own in net.backbone.named_parameters())
    if state["mafa.from_face.bias"].shape == net.mafa.from_face.bias.shape:
        n_global, columns = net.mafa.n_global, net.mafa.n_global + net.backbone.n_features
        weight = state["mafa.from_face.weight"]
        net.mafa.from_face.weight[:, :n_global] = weight[:, :n_global]
        if pruned or is_same:
            net.mafa.from_face.weight[:, n_global:columns] = weight[:, n_global + features]
        net.mafa.from_face.weight[:, columns:] = 0
    return pruned


@torch.no_grad()
def fit_heads(net: SynergyNet, features: Tensor, params: Tensor, ridge: float = 1e-2) -> None:
    """Set the three heads to the ridge regression of whitened parameters on features.

    Args:
        net: the network, changed in place.
        features: (N, F) of the backbone.
        params: (N, 12 + S + E). NaN is not allowed.
        ridge: strength of the regularisation, relative to the mean variance of the features.
    """
    net.set_heads(*ridge_regression(features, net.whitening.whiten(params), ridge))
