"""Networks without BatchNorm: in evaluation mode it is an affine map, which the layer before it can take over."""

from __future__ import annotations

from copy import deepcopy
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from synergy.models.pointnet import MAFA, PointLayer
from synergy.models.synergynet import SynergyNet

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

    def forward(self, points: Tensor) -> Tensor:
        """Map (B, N, n_in) to (B, N, n_out), as one matrix product with all points of the batch in its rows."""
        linear = self[0]
        assert isinstance(linear, nn.Linear)
        features: Tensor = super().forward(points.reshape(-1, linear.in_features))
        return features.reshape(-1, int(points.shape[1]), linear.out_features)  # int: a constant in traced graphs


class FoldedSynergyNet(SynergyNet):
    """A `SynergyNet` for prediction, in fewer operations: one linear layer for all heads, no division of the image.

    `fold_batch_norm` makes it of a `SynergyNet`. `joined_heads` is the linear layer.
    """

    joined_heads: nn.Linear

    def features(self, images: Tensor) -> Tensor:
        """Return the backbone's features (B, F) of crops (B, 3, size, size). Its first layer divides by 128."""
        feature: Tensor = self.backbone(images.to(self.param_mean.dtype) - 127.5)
        return feature

    def heads(self, feature: Tensor) -> Tensor:
        """Return whitened parameters (B, 12 + S + E) of features (B, F)."""
        whitened: Tensor = self.joined_heads(feature)
        return whitened


def fold_batch_norm(network: M) -> M:
    """Return a copy of a network in evaluation mode, whose BatchNorms are folded into the layers before them.

    Convolutions followed by BatchNorm, `PointLayer` and `MAFA` are folded, and a `SynergyNet` becomes a
    `FoldedSynergyNet`. The copy computes the same function as the network in evaluation mode, up to rounding.

    Args:
        network: a network. It does not change.

    Example:
        >>> from synergy.models.mobilenet import MobileNetV1
        >>> folded = fold_batch_norm(MobileNetV1(0.25).eval())
        >>> any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
        False
    """
    shared = getattr(network, "morphable_model", None)  # is never changed, and may be large
    folded = deepcopy(network, {} if shared is None else {id(shared): shared}).eval()
    with torch.no_grad():
        for module in list(folded.modules()):
            if isinstance(module, MAFA):
                _fold_first_layer(module)
            for name, child in list(module.named_children()):
                if isinstance(child, PointLayer):
                    module.register_module(name, FoldedPointLayer(child))
            if isinstance(module, nn.Sequential):
                _fold_convolutions(module)
        if isinstance(folded, SynergyNet):
            _join_heads(folded)
    return folded


def _join_heads(net: SynergyNet) -> None:
    """Make a copy of a network, whose BatchNorms are folded, a `FoldedSynergyNet`."""
    heads = net.head_layers
    joined = nn.Linear(net.backbone.n_features, sum(head.out_features for head in heads))
    joined.weight.copy_(torch.cat([head.weight for head in heads]))
    joined.bias.copy_(torch.cat([head.bias for head in heads]))
    del net.pose_head, net.shape_head, net.expression_head
    net.joined_heads = joined.to(net.param_mean)
    first = net.backbone[0]
    assert isinstance(first, nn.Conv2d)
    first.weight /= 128
    net.__class__ = FoldedSynergyNet  # it has all attributes already, and other methods


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
    mafa.of_landmark.mul_(factor)
    mafa.from_face.weight *= factor[:, None]
    mafa.from_face.bias.copy_((mafa.from_face.bias - norm.running_mean) * factor + norm.bias)
    mafa.register_module("first", activation)
