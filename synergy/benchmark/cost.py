"""The size of a network as it predicts."""

from __future__ import annotations

import torch
from torch import nn

from synergy.engines import Network
from synergy.models.cost import count_macs
from synergy.weights import decides_predictions


def network_cost(net: Network) -> dict[str, float]:
    """Return the size of a network as it predicts, without what serves training alone.

    Returns:
        `parameters` and `macs` (multiply-accumulates of one crop) in millions, and `megabytes` of the parameters in
        fp32. Empty for an exported model, whose layers are not known.
    """
    if not isinstance(net, nn.Module):
        return {}
    weights = sum(p.numel() for name, p in net.named_parameters() if decides_predictions(name)) / 1e6
    device = next(net.parameters()).device
    macs = count_macs(net, torch.zeros(1, 3, net.size, net.size, device=device)) / 1e6
    return {"parameters": weights, "macs": macs, "megabytes": 4 * weights}
