"""Read the state dicts of other projects and rename their layers to ours."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from synergy.checkpoints import read_checkpoint
from synergy.errors import UserError

State = dict[str, Tensor]

# Names of the tensors that a layer stores.
_SUFFIXES = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


def read_state(path: str | Path) -> State:
    """Read a checkpoint that is a state dict or holds one as `state_dict`.

    Args:
        path: file of the checkpoint.

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
    """Rename layers.

    Args:
        state: tensors by name.
        theirs: names of layers in `state`.
        ours: new names of the same layers, in the same order.

    Returns:
        The tensors of those layers under the new names.
    """
    return {
        f"{new}.{suffix}": state[f"{old}.{suffix}"]
        for old, new in zip(theirs, ours, strict=True)
        for suffix in _SUFFIXES
        if f"{old}.{suffix}" in state
    }


def join_layers(state: State, theirs: Sequence[str], ours: str) -> State:
    """Join layers that have the same input into one layer.

    Args:
        state: tensors by name.
        theirs: names of the layers in `state`.
        ours: name of the joint layer. Its outputs are those of the layers, one after the other.

    Returns:
        The tensors of the joint layer.
    """
    joined = {}
    for suffix in _SUFFIXES:
        parts = [state[f"{old}.{suffix}"] for old in theirs if f"{old}.{suffix}" in state]
        if parts:
            joined[f"{ours}.{suffix}"] = torch.cat(parts) if parts[0].dim() else parts[0]
    return joined


def conv_layers(module: nn.Module) -> list[str]:
    """Return the names of a module's convolutions, linear layers and BatchNorms, in their order."""
    kinds = (nn.Conv2d, nn.Linear, nn.BatchNorm1d, nn.BatchNorm2d)
    return [name for name, layer in module.named_modules() if isinstance(layer, kinds)]


def load_strictly(module: nn.Module, state: State, source: str | Path) -> None:
    """Load all tensors of a module.

    Args:
        module: gets the tensors.
        state: tensors by name. Other tensors in it are ignored.
        source: where `state` comes from, for the error message.

    Raises:
        UserError: a tensor is missing, has another size, or has values that are not finite.
    """
    for name, own in module.state_dict().items():
        if name not in state:
            raise UserError(f"{source}: not a checkpoint of this network, it has no '{name}'")
        if state[name].numel() != own.numel():
            shapes = f"{tuple(state[name].shape)}, expected {tuple(own.shape)}"
            raise UserError(f"{source}: not a checkpoint of this network, '{name}' is {shapes}")
        if not state[name].isfinite().all():
            raise UserError(f"{source}: '{name}' has values that are not finite")
    # Their point-wise convolutions are linear layers here, with the same weights but without the last axis.
    own_shapes = module.state_dict()
    module.load_state_dict({name: state[name].reshape(own.shape) for name, own in own_shapes.items()})
