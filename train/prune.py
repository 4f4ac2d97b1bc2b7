"""Structured pruning: initialise a narrow MobileNetV1 with the most important channels of a wide one.

The importance of a channel is the root mean square of what it adds to the outputs of the pointwise convolution that
reads it. It needs no data: the batch normalisation before a ReLU gives the mean b and the standard deviation g of its
input, and E[relu(x)^2] = (b^2 + g^2) Phi(b / g) + b g phi(b / g) for x ~ N(b, g^2). Molchanov et al. 2019 (arXiv
1906.10771) compare such criteria.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor, nn

from synergy.models.mobilenet import MobileNetV1

_BATCH_NORM = ("weight", "bias", "running_mean", "running_var")


def can_prune(wide: Mapping[str, Tensor], narrow: MobileNetV1) -> bool:
    """Return whether `wide` is the state of a MobileNetV1 with more channels than `narrow` in at least one layer."""
    own = dict(narrow.named_parameters())
    same_layers = all(name in wide and wide[name].dim() == tensor.dim() for name, tensor in own.items())
    if not same_layers or any((_size(wide[name]) < _size(own[name])).any() for name in own):
        return False
    return any(wide[name].shape != tensor.shape for name, tensor in own.items())


def _size(tensor: Tensor) -> Tensor:
    return torch.tensor(tensor.shape)


@torch.no_grad()
def prune_backbone(wide: Mapping[str, Tensor], narrow: MobileNetV1) -> Tensor:
    """Copy the most important channels of a wide MobileNetV1.

    The means of the removed channels are taken off the means of the batch normalisation behind them. The statistics are
    still not exact, see `reestimate_batch_norm`.

    Args:
        wide: state of the wide network, see `can_prune`.
        narrow: the network to initialise, in place.

    Returns:
        Indices of the features that were kept, (narrow.n_features,).
    """
    convolutions = [i for i, layer in enumerate(narrow) if isinstance(layer, nn.Conv2d)]
    state = {name: tensor.clone() for name, tensor in narrow.state_dict().items()}
    kept = torch.arange(3)
    offset: Tensor | None = None
    for position, i in enumerate(convolutions):
        weight = wide[f"{i}.weight"]
        is_depthwise = weight.shape[1] == 1
        if not is_depthwise:
            n_out = state[f"{i}.weight"].shape[0]
            offset = None if offset is None else weight[:, :, 0, 0] @ offset
            channels = _most_important(wide, i, convolutions[position + 1 : position + 3], n_out)
            state[f"{i}.weight"] = weight[channels][:, kept]
            kept = channels
        else:
            state[f"{i}.weight"] = weight[kept]
        for name in _BATCH_NORM:
            state[f"{i + 1}.{name}"] = wide[f"{i + 1}.{name}"][kept]
        if not is_depthwise and offset is not None:
            state[f"{i + 1}.running_mean"] -= offset[kept]
        if is_depthwise:
            offset, _ = _relu_moments(wide, i + 1)
            offset[kept] = 0
    narrow.load_state_dict(state)
    return kept


def _most_important(wide: Mapping[str, Tensor], layer: int, following: list[int], count: int) -> Tensor:
    """Return the indices of the `count` most important output channels of a convolution, in their order.

    Args:
        wide: state of the wide network.
        layer: index of the convolution.
        following: indices of the depthwise convolution that reads it and of the pointwise convolution behind that;
            empty for the last layer.
        count: number of channels to keep.
    """
    if not following:
        importance = _relu_moments(wide, layer + 1)[1].sqrt()
    else:
        depthwise, pointwise = following
        reads = wide[f"{pointwise}.weight"][:, :, 0, 0] / _spread(wide, pointwise + 1)[:, None]
        importance = _relu_moments(wide, depthwise + 1)[1].sqrt() * reads.norm(dim=0)
    return importance.topk(count).indices.sort().values


def _spread(wide: Mapping[str, Tensor], layer: int) -> Tensor:
    """Return the standard deviation of the inputs of a batch normalisation over its scale."""
    return wide[f"{layer}.running_var"].sqrt() / wide[f"{layer}.weight"].abs().clamp_min(1e-6)


def _relu_moments(wide: Mapping[str, Tensor], layer: int) -> tuple[Tensor, Tensor]:
    """Return the first and second moment of each channel after a batch normalisation and its ReLU."""
    b, g = wide[f"{layer}.bias"], wide[f"{layer}.weight"].abs().clamp_min(1e-6)
    below = torch.special.ndtr(b / g)
    density = torch.exp(-0.5 * (b / g) ** 2) / (2 * torch.pi) ** 0.5
    return b * below + g * density, (b.square() + g.square()) * below + b * g * density


@torch.no_grad()
def reestimate_batch_norm(backbone: nn.Module, forward: Callable[[Tensor], object], batches: Iterable[Tensor]) -> None:
    """Set the statistics of all batch normalisations to their means over some batches.

    Args:
        backbone: the network, changed in place and left in training mode.
        forward: runs the backbone on a batch, with what comes before it.
        batches: inputs of `forward`.
    """
    norms = [layer for layer in backbone.modules() if isinstance(layer, nn.BatchNorm2d)]
    momenta = [layer.momentum for layer in norms]
    backbone.train()
    for layer in norms:
        layer.reset_running_stats()
        layer.momentum = None
    for batch in batches:
        forward(batch)
    for layer, momentum in zip(norms, momenta, strict=True):
        layer.momentum = momentum
