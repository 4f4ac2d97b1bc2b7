"""State dicts of other projects, and renaming of their layers to ours."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from synergy.checkpoints import read_checkpoint
from synergy.errors import UserError

State = dict[str, Tensor]

# What a layer stores: weights and running statistics.
_SUFFIXES = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


def read_state(path: str | Path) -> State:
    """Read the state dict of a checkpoint `{"state_dict": ...}` or of a bare one.

    Returns:
        Tensors by layer name, without the `module.` prefix of DataParallel.

    Raises:
        UserError: no such file, or it is not a checkpoint of tensors (`synergy.checkpoints.read_checkpoint`).
    """
    content = read_checkpoint(path)
    state = content.get("state_dict", content)
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise UserError(f"{path}: not a checkpoint, it has no state dict of tensors")
    return {str(key).removeprefix("module."): value for key, value in state.items()}


def rename_layers(state: State, theirs: Sequence[str], ours: Sequence[str]) -> State:
    """The entries of layers `theirs` under the names `ours`, one to one in order."""
    return {
        f"{new}.{suffix}": state[f"{old}.{suffix}"]
        for old, new in zip(theirs, ours, strict=True)
        for suffix in _SUFFIXES
        if f"{old}.{suffix}" in state
    }


def join_layers(state: State, theirs: Sequence[str], ours: str) -> State:
    """Layers `theirs` that read the same input, as one layer `ours` of all their outputs in that order."""
    joined = {}
    for suffix in _SUFFIXES:
        parts = [state[f"{old}.{suffix}"] for old in theirs if f"{old}.{suffix}" in state]
        if parts:
            joined[f"{ours}.{suffix}"] = torch.cat(parts) if parts[0].dim() else parts[0]
    return joined


def conv_layers(module: nn.Module) -> list[str]:
    """Names of a module's convolutions, linear layers and BatchNorms, in order."""
    kinds = (nn.Conv2d, nn.Linear, nn.BatchNorm1d, nn.BatchNorm2d)
    return [name for name, layer in module.named_modules() if isinstance(layer, kinds)]


def load_strictly(module: nn.Module, state: State, source: str | Path) -> None:
    """Load every entry of `module` from `state`; `UserError` names what is missing or has another shape."""
    for name, own in module.state_dict().items():
        if name not in state:
            raise UserError(f"{source}: not a checkpoint of this network, it has nothing for '{name}'")
        if state[name].numel() != own.numel():
            shapes = f"{tuple(state[name].shape)}, expected {tuple(own.shape)}"
            raise UserError(f"{source}: not a checkpoint of this network, '{name}' is {shapes}")
    # Point-wise convolutions are linear layers here: the same numbers without the trailing axis.
    own_shapes = module.state_dict()
    module.load_state_dict({name: state[name].reshape(own.shape) for name, own in own_shapes.items()})
