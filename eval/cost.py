"""The size of a network next to its scores."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn

from eval.result import ProtocolResult
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


def add_cost(result: ProtocolResult, net: Network) -> ProtocolResult:
    """Add the size of a network to the scores, under `cost`, and as columns to the first table."""
    cost = network_cost(net)
    if not cost:
        return result
    table, *others = result.tables
    cells = tuple(f"{value:.2f}" for value in cost.values())
    columns = (*table.columns, "M weights", "M MACs", "MB fp32")
    wider = replace(table, columns=columns, rows=tuple((*row, *cells) for row in table.rows))
    return replace(result, scores={**result.scores, "cost": cost}, tables=[wider, *others])
