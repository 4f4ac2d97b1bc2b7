"""Networks without BatchNorm: in evaluation mode it is an affine map, which the layer before it can take over."""

from __future__ import annotations

from copy import deepcopy
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from synergy.models.pointnet import MAFA, PointLayer

M = TypeVar("M", bound=nn.Module)


class FoldedPointLayer(nn.Sequential):
    """A `PointLayer` whose BatchNorm is folded into its linear layer: (B, N, n_in) to (B, N, n_out).

    Args:
        layer: the layer, in evaluation mode.
    """

    def __init__(self, layer: PointLayer) -> None:
        linear, _, norm, activation = layer
        assert isinstance(linear, nn.Linear)
        assert isinstance(norm, nn.BatchNorm1d)
        super().__init__(fuse_linear_bn_eval(linear, norm), activation)


def fold_batch_norm(network: M) -> M:
    """Return a copy of a network, for evaluation only, whose BatchNorms are folded into the layers before them.

    Convolutions followed by BatchNorm, `PointLayer` and `MAFA` are folded. The copy computes the same function up to
    rounding.

    Args:
        network: a network in evaluation mode.

    Raises:
        ValueError: the network is in training mode, where BatchNorm is another function.

    Example:
        >>> from synergy.models.mobilenet import MobileNetV1
        >>> folded = fold_batch_norm(MobileNetV1(0.25).eval())
        >>> any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
        False
    """
    if network.training:
        raise ValueError("BatchNorm can be folded in evaluation mode only")
    shared = getattr(network, "morphable_model", None)  # is never changed, and may be large
    folded = deepcopy(network, {} if shared is None else {id(shared): shared})
    with torch.no_grad():
        for module in list(folded.modules()):
            if isinstance(module, MAFA):
                _fold_first_layer(module)
            for name, child in list(module.named_children()):
                if isinstance(child, PointLayer):
                    module.register_module(name, FoldedPointLayer(child))
            if isinstance(module, nn.Sequential):
                _fold_convolutions(module)
    return folded


def _fold_convolutions(layers: nn.Sequential) -> None:
    for i in range(len(layers) - 1):
        convolution, norm = layers[i], layers[i + 1]
        if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            layers[i] = fuse_conv_bn_eval(convolution, norm)
            layers[i + 1] = nn.Identity()


def _fold_first_layer(mafa: MAFA) -> None:
    """Fold the BatchNorm of MAFA's first layer, which is split into the two linear layers whose outputs it adds."""
    norm, activation = mafa.first[1], mafa.first[2]
    assert isinstance(norm, nn.BatchNorm1d)
    assert isinstance(norm.running_mean, Tensor)
    assert isinstance(norm.running_var, Tensor)
    factor = norm.weight / (norm.running_var + norm.eps).sqrt()
    mafa.from_point.weight *= factor[:, None]
    mafa.from_face.weight *= factor[:, None]
    mafa.from_face.bias.copy_((mafa.from_face.bias - norm.running_mean) * factor + norm.bias)
    mafa.register_module("first", activation)
