"""Initialisation of a network from one with another morphable model or with a wider backbone."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from synergy.models import MobileNetV1, SynergyNet
from train.prune import can_prune, prune_backbone


@torch.no_grad()
def transplant(net: SynergyNet, state: dict[str, Tensor]) -> bool:
    """Copy the parts of another network's state that have the same name and shape, except its whitening.

    The most important channels of a wider MobileNetV1 are copied (`train.prune`). In MAFA's first layer the weights of
    shape and expression coefficients become zero, because the coefficients of another morphable model have another
    meaning. A MAFA of another width is left as it is.

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
    if state["mafa.from_face.bias"].shape == net.mafa.from_face.bias.shape:
        n_global, columns = net.mafa.n_global, net.mafa.n_global + net.backbone.n_features
        weight = state["mafa.from_face.weight"]
        net.mafa.from_face.weight[:, :n_global] = weight[:, :n_global]
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
    target = net.whitening.whiten(params).double()
    mean = features.double().mean(0)
    x = features.double() - mean
    gram = x.T @ x
    gram += ridge * gram.diagonal().mean() * torch.eye(len(gram)).to(gram)
    weight = torch.linalg.solve(gram, x.T @ (target - target.mean(0))).T
    bias = target.mean(0) - weight @ mean
    row = 0
    for head in (net.pose_head, net.shape_head, net.expression_head):
        linear = head[-1]
        assert isinstance(linear, nn.Linear)
        linear.weight.copy_(weight[row : row + linear.out_features])
        linear.bias.copy_(bias[row : row + linear.out_features])
        row += linear.out_features
